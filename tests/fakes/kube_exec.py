"""The server's side of exec over WebSocket, to a coroutine or a local process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import WSMsgType, web


class Refusal(Exception):
    """Raised by a handler: the command could not be started; `message` goes to the status channel."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass
class ExecCall:
    """One exec as its handler sees it. `read` returns b"" at the end of stdin (v5's close, or the client has gone)."""

    command: list[str]
    container: str
    protocol: str
    socket: web.WebSocketResponse
    pings: int = 0
    _stdin: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(16))
    _ended: bool = False

    async def read(self) -> bytes:
        if self._ended:
            return b""
        data = await self._stdin.get()
        self._ended = not data
        return data

    async def write(self, data: bytes) -> None:
        await self.socket.send_bytes(b"\x01" + data)

    async def write_error(self, data: bytes) -> None:
        await self.socket.send_bytes(b"\x02" + data)


ExecHandler = Callable[[ExecCall], Awaitable[int | None]]
"""Runs a command; returns its exit code, or None to end the connection without a status."""


async def cat(call: ExecCall) -> int:
    """A command that sends its stdin back."""
    while data := await call.read():
        await call.write(data)
    return 0


async def local_process(call: ExecCall) -> int:
    """Run the command on this machine."""
    try:
        process = await asyncio.create_subprocess_exec(
            *call.command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except FileNotFoundError as exc:
        raise Refusal(f'exec: "{call.command[0]}": executable file not found in $PATH') from exc
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None

    async def feed(stdin: asyncio.StreamWriter) -> None:
        try:
            while data := await call.read():
                stdin.write(data)
                await stdin.drain()
            stdin.close()
        except ConnectionError:
            return

    async def copy(stream: asyncio.StreamReader, write: Callable[[bytes], Awaitable[None]]) -> None:
        while data := await stream.read(32 * 1024):
            await write(data)

    try:
        async with asyncio.TaskGroup() as group:
            feeding = group.create_task(feed(process.stdin))
            copying = [group.create_task(copy(process.stdout, call.write)), group.create_task(copy(process.stderr, call.write_error))]
            await asyncio.wait(copying)
            feeding.cancel()
        return await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await asyncio.wait([asyncio.ensure_future(stream.read()) for stream in (process.stdout, process.stderr)])
            await process.wait()


async def serve_exec(request: web.BaseRequest, handler: ExecHandler, protocols: tuple[str, ...]) -> web.StreamResponse:
    """Upgrade the request and run `handler`, as the API server and the kubelet together do."""
    socket = web.WebSocketResponse(protocols=protocols, autoping=False, compress=False, max_msg_size=0)
    await socket.prepare(request)
    call = ExecCall(
        command=request.query.getall("command"),
        container=request.query.get("container", ""),
        protocol=socket.ws_protocol or "",
        socket=socket,
    )
    await call.write(b"")  # both real servers begin with an empty message
    reading = asyncio.create_task(_read(call))
    try:
        try:
            code = await handler(call)
        except Refusal as exc:
            await _send_status(socket, {"status": "Failure", "reason": "InternalError", "code": 500, "message": exc.message})
        else:
            if code is not None:
                await _send_status(socket, _exit_status(code))
        await socket.close()
    except ConnectionError:
        pass  # the client has gone first
    finally:
        reading.cancel()
        await asyncio.wait([reading])
    return socket


async def _read(call: ExecCall) -> None:
    while True:
        message = await call.socket.receive()
        match message.type:
            case WSMsgType.BINARY if message.data[:1] == b"\x00":
                if len(message.data) > 1:
                    await call._stdin.put(message.data[1:])
            case WSMsgType.BINARY if message.data == b"\xff\x00" and call.protocol.startswith("v5"):
                await call._stdin.put(b"")
            case WSMsgType.PING:
                call.pings += 1
            case WSMsgType.PONG:
                pass
            case _:
                await call._stdin.put(b"")
                return


def _exit_status(code: int) -> dict[str, object]:
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    causes = [{"reason": "ExitCode", "message": str(code)}]
    message = f"command terminated with non-zero exit code: exit status {code}"
    return {"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "message": message, "details": {"causes": causes}}


async def _send_status(socket: web.WebSocketResponse, status: dict[str, object]) -> None:
    await socket.send_bytes(b"\x03" + json.dumps(status).encode())
