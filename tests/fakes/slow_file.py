"""A file on HTTP that comes when the test says: `ADD http://.../file /` is then a step that takes as long as it should."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.fakes.serving import serving


class SlowFile:
    """The answer to each GET waits for `ready`."""

    def __init__(self) -> None:
        self.url = ""
        self.ready = asyncio.Event()
        self._asked = asyncio.Semaphore(0)
        self._left = asyncio.Semaphore(0)

    async def asked(self, seconds: float = 60) -> None:
        """Wait for the next GET."""
        async with asyncio.timeout(seconds):
            await self._asked.acquire()

    async def left(self, seconds: float) -> None:
        """Wait until the next client has got its answer, or has gone without one."""
        async with asyncio.timeout(seconds):
            await self._left.acquire()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one connection."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"HEAD"):
                    writer.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
                    continue
                await self._answer(reader, writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._asked.release()
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
            self._left.release()
            gone.cancel()
            ready.cancel()


@asynccontextmanager
async def open_slow_file() -> AsyncIterator[SlowFile]:
    """Serve on a loopback port."""
    file = SlowFile()
    async with serving(file.serve) as port:
        file.url = f"http://127.0.0.1:{port}/file"
        yield file
