"""A file on HTTP that comes when the test says: `ADD http://.../file /` is then a step that takes as long as it should."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class SlowFile:
    """`asked` is released for every GET; the answer waits for `ready`. `waiting` counts requests whose client is still there."""

    def __init__(self) -> None:
        self.url = ""
        self.asked = asyncio.Semaphore(0)
        self.left = asyncio.Semaphore(0)
        self.ready = asyncio.Event()
        self.waiting = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one connection."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"HEAD"):
                    writer.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
                    continue
                await self._answer(reader, writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.waiting += 1
        self.asked.release()
        gone = asyncio.create_task(reader.read(1))
        ready = asyncio.create_task(self.ready.wait())
        try:
            await asyncio.wait([gone, ready], return_when=asyncio.FIRST_COMPLETED)
            if not self.ready.is_set():
                raise ConnectionResetError("the client has gone")
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nConnection: close\r\n\r\nhello"
            )
            await writer.drain()
            raise ConnectionResetError("one answer for each connection")
        finally:
            self.waiting -= 1
            self.left.release()
            gone.cancel()
            ready.cancel()


@asynccontextmanager
async def open_slow_file() -> AsyncIterator[SlowFile]:
    """Serve on a loopback port."""
    file = SlowFile()
    server = await asyncio.start_server(file.serve, "127.0.0.1", 0)
    file.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/file"
    try:
        yield file
    finally:
        file.ready.set()
        server.close()
        await server.wait_closed()
