"""A command in a container, with its stdin and stdout as a byte stream: exec over WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from kubectl_build.cluster.answers import Action
from kubectl_build.cluster.channels import (
    BULK_SUBPROTOCOLS,
    STDIN,
    SUBPROTOCOLS,
    ExecChannels,
    ExecStatus,
    close_message,
    stdin_message,
)
from kubectl_build.cluster.client import PODS, KubeClient
from kubectl_build.errors import ApiError, ApiUnreachable, ConnectionLost, DialError, ExecError, Forbidden, NotFound, Unauthorized

if TYPE_CHECKING:
    import aiohttp

    from kubectl_build.cluster.http import Query

_KILLED = 128
"""Shells and runtimes add the signal's number to it, for a command that did not end by itself: its container was stopped."""

PING_SECONDS = 10.0
"""Middleboxes forget connections that are silent for a minute or less. No answer is waited for: the API server reads pings only between
messages that the pod has taken, so under back-pressure there is none."""

_CLOSE_SECONDS = 2.0
_STDOUT_MAX = 1024 * 1024
_FRAME = 128 * 1024
"""Measured: larger frames cost twice the time of ours (their copies come from mmap), smaller ones more of the API server's."""


class ExecStream:
    """A ByteStream: `send` writes to the command's stdin, `receive` reads its stdout and ends when the command has ended with 0.

    A command that fails, or cannot be started, raises from `receive` with the server's words and the end of stderr: DialError before any
    data came, ConnectionLost after. Reading is bounded by aiohttp's queue, which stops the socket; writing waits for the socket.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, channels: ExecChannels, where: str) -> None:
        self._socket = socket
        self._channels = channels
        self._where = where
        self._early = b""
        self._started = False
        self._closed = False
        self._pings = asyncio.create_task(self._keep_open(), name=f"ping {where}")  # ended by aclose

    @property
    def stderr(self) -> bytes:
        """The end of what the command wrote to stderr, as far as `receive` has read."""
        return self._channels.stderr

    @property
    def status(self) -> ExecStatus | None:
        """How the command ended; None while it runs."""
        return self._channels.status

    async def started(self) -> None:
        """Wait until the command has written to stdout; what it wrote is still there for `receive`. Raises DialError."""
        self._early = await self.receive()
        if not self._early:
            raise self._lost("the command ended without an answer")

    async def receive(self) -> bytes:
        if self._early:
            data, self._early = self._early, b""
            return data
        data = await self._next_stdout()
        if data:
            self._started = True
            return data
        status = self._channels.finish()
        if status is not None and status.succeeded:
            return b""
        raise self._failure(status)

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        for start in range(0, len(view), _FRAME):
            await self._send(stdin_message(view[start : start + _FRAME]))

    async def send_eof(self) -> None:
        if self._channels.can_close_stdin:
            await self._send(close_message(STDIN))

    async def aclose(self) -> None:
        self._closed = True
        self._pings.cancel()
        await asyncio.wait([self._pings])
        # aiohttp drops the connection when this is cut short, and does not when the peer goes on talking.
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._socket.close()

    async def read_to_end(self, limit: int) -> tuple[ExecStatus, bytes]:
        """Return how the command ended, whatever that is, and its stdout. Raises ConnectionLost without a status, or beyond `limit`."""
        stdout = bytearray()
        while data := await self._next_stdout():
            stdout += data
            if len(stdout) > limit:
                raise ConnectionLost(f"{self._where} printed more than {limit} bytes")
        status = self._channels.finish()
        if status is None:
            raise self._failure(None)
        return status, bytes(stdout)

    async def _next_stdout(self) -> bytes:
        """Return stdout, or b"" when nothing more comes."""
        import aiohttp

        while self._channels.status is None and not self._closed:
            try:
                message = await self._socket.receive()
            except (aiohttp.ClientError, OSError) as exc:
                raise self._lost(str(exc) or type(exc).__name__) from exc
            match message.type:
                case aiohttp.WSMsgType.BINARY:
                    data = self._channels.feed(message.data)
                case aiohttp.WSMsgType.TEXT:
                    data = self._channels.feed(message.data.encode())
                case aiohttp.WSMsgType.ERROR:
                    raise self._lost(str(message.data))
                case _:
                    return b""
            if data:
                return data
        return b""

    async def _send(self, message: bytes) -> None:
        if self._closed:
            raise ConnectionLost(f"the exec connection to {self._where} is closed")
        try:
            await self._socket.send_bytes(message)
        except (ConnectionError, RuntimeError) as exc:  # aiohttp's own reset error is a ConnectionError
            raise self._lost("the connection broke while data was sent") from exc

    async def _keep_open(self) -> None:
        with suppress(ConnectionError):  # whoever receives or sends next learns of it
            while True:
                await asyncio.sleep(PING_SECONDS)
                await self._socket.ping()  # waits under back-pressure, so that pings do not queue up

    def _failure(self, status: ExecStatus | None) -> ConnectionLost:
        if self._closed:
            return ConnectionLost(f"the exec connection to {self._where} is closed")
        if status is None:
            return self._lost("the connection ended before the command did")
        ran = status.exit_code is not None and status.exit_code < _KILLED
        return self._lost(status.message or "the command failed", ran=ran)

    def _lost(self, reason: str, *, ran: bool = False) -> ConnectionLost:
        stderr = self.stderr.decode(errors="replace").strip()
        words = reason + (f": {stderr[-512:]}" if stderr else "")
        if self._started:
            return ConnectionLost(f"the connection to {self._where} was lost: {words}")
        return (DialError if ran else ExecError)(f"cannot connect to {self._where}: {words}")


async def open_exec(
    client: KubeClient,
    *,
    namespace: str | None = None,
    pod: str,
    container: str,
    command: Sequence[str],
    stdin: bool = True,
    bulk: bool = False,
) -> ExecStream:
    """Start a command. The API server agrees before the kubelet has tried: a command that cannot be started fails in the first `receive`.

    With `bulk` bytes cost the API server less than half, but stdin ends only with the connection. Raises Forbidden or Unauthorized when
    this user may not exec, DialError for anything else.
    """
    where = namespace or client.namespace
    # The API server checks `get` for a WebSocket, since 1.35 `create` as well (kubernetes/kubernetes#134577).
    action = Action(verb="create", resource=PODS, name=pod, namespace=where, subresource="exec")
    query = [*([("container", container)] if container else []), *(("command", part) for part in command)]
    query += [("stdin", str(stdin).lower()), ("stdout", "true"), ("stderr", "true"), ("tty", "false")]
    label = f'"{" ".join(command)}" in pod "{pod}" of namespace "{where}"'
    try:
        socket = await _websocket(client, action, query, bulk=bulk)
    except Forbidden as exc:
        if not exc.verb:
            raise
        raise Forbidden(
            f"{exc.message} (exec needs get and create on pods/exec)",
            status=exc.status,
            reason=exc.reason,
            hint=f"ask for the verbs get and create on pods/exec in namespace {where}",
            verb=exc.verb,
            resource=exc.resource,
            namespace=exc.namespace,
        ) from exc
    except Unauthorized:
        raise
    except (ApiError, ApiUnreachable) as exc:
        raise ExecError(f"cannot run {label}: {exc.message}", hint=exc.hint) from exc
    if socket.protocol is None:
        await socket.close()
        raise DialError(f"cannot run {label}: the API server {client.server} speaks neither {' nor '.join(SUBPROTOCOLS)}")
    return ExecStream(socket, ExecChannels(socket.protocol), label)


async def _websocket(client: KubeClient, action: Action, query: Query, *, bulk: bool) -> aiohttp.ClientWebSocketResponse:
    path = PODS.path(namespace=action.namespace, name=action.name, subresource="exec")
    if bulk:
        try:
            socket = await client.transport.websocket(path, action=action, query=query, protocols=BULK_SUBPROTOCOLS)
        except (Forbidden, Unauthorized):
            raise
        except ApiError as exc:
            # Any other refusal may be of the protocol. It may also be the kubelet's, which v5 tells in better words.
            if isinstance(exc, NotFound) and exc.reason:
                raise
        else:
            if socket.protocol is not None:
                return socket
            await socket.close()
    return await client.transport.websocket(path, action=action, query=query, protocols=SUBPROTOCOLS)


async def run(
    client: KubeClient,
    *,
    namespace: str | None = None,
    pod: str,
    container: str,
    command: Sequence[str],
    deadline: float,
) -> tuple[int, bytes, bytes]:
    """Run a short command without stdin and return exit code, stdout (at most 1 MiB is accepted) and the end of stderr.

    Raises DialError when it cannot be started or says nothing within `deadline` seconds, and as `open_exec` does.
    """
    what = f'"{" ".join(command)}" in pod "{pod}"'
    try:
        async with asyncio.timeout(deadline):
            stream = await open_exec(client, namespace=namespace, pod=pod, container=container, command=command, stdin=False)
            try:
                status, stdout = await stream.read_to_end(_STDOUT_MAX)
            finally:
                await stream.aclose()
    except TimeoutError as exc:
        raise DialError(f"{what} did not end within {deadline:g} s") from exc
    if status.exit_code is None:
        raise DialError(f"cannot run {what}: {status.message}")
    return status.exit_code, stdout, stream.stderr
