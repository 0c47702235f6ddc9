"""A slow and far path to the API server: a TCP proxy whose connections share one line of a given rate and delay."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PIECE = 4096
_WINDOW = 64 * 1024
"""What the kernel may take in before the line has carried it; more would hide the rate from those who send."""
_BUFFER_S = 0.1
"""How much the line takes in before it is full, as a router's queue."""


class Line:
    """One direction: when what is put on it now will arrive. Times are the caller's."""

    def __init__(self, rate: float, delay: float) -> None:
        """`rate` is in bytes a second, `delay` in seconds."""
        self._rate = rate
        self._delay = delay
        self._free = 0.0

    def full_for(self, now: float) -> float:
        """Seconds until the line takes more."""
        return max(0.0, self._free - now - _BUFFER_S)

    def put(self, now: float, size: int) -> float:
        """Send `size` bytes after all that was put before; returns when they arrive."""
        self._free = max(now, self._free) + size / self._rate
        return self._free + self._delay


class _Proxy:
    def __init__(self, target: tuple[str, int], up: Line, down: Line) -> None:
        self._target = target
        self._lines = up, down

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until either side ends it."""
        up, down = self._lines
        try:
            with suppress(OSError):
                other_reader, other_writer = await asyncio.open_connection(sock=await self._connected())
                try:
                    await asyncio.gather(_carry(reader, other_writer, up), _carry(other_reader, writer, down))
                finally:
                    other_writer.close()
        finally:
            writer.close()

    async def _connected(self) -> socket.socket:
        sock = socket.socket()
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW)
            await asyncio.get_running_loop().sock_connect(sock, self._target)
        except BaseException:
            sock.close()
            raise
        return sock


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Line) -> None:
    """Read and write apart, so that the delay does not also limit the rate."""
    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def read() -> None:
        loop = asyncio.get_running_loop()
        data = b"-"
        while data:
            data = await reader.read(_PIECE)
            await asyncio.sleep(line.full_for(loop.time()))
            queue.put_nowait((line.put(loop.time(), len(data)), data))

    async def write() -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await queue.get()
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            if not data:
                writer.write_eof() if writer.can_write_eof() else writer.close()
                return
            writer.write(data)
            await writer.drain()

    await asyncio.gather(read(), write())


@contextmanager
def slow_path(host: str, target: tuple[str, int], *, rate: float, round_trip: float) -> Iterator[str]:
    """Run the proxy on a free port of `host` until the block ends; yields its host:port.

    `rate` is in bytes a second in each direction; `round_trip` in seconds is added, half of it each way.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="slow path", daemon=True)
    thread.start()
    proxy = _Proxy(target, Line(rate, round_trip / 2), Line(rate, round_trip / 2))
    listening = socket.create_server((host, 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW)
    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(proxy.serve, sock=listening), loop).result(10)
    try:
        yield f"{host}:{listening.getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(_close(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _close(server: asyncio.Server) -> None:
    server.close()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
