"""An HTTP proxy that tunnels (CONNECT) to wherever the test says, and notes what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.fakes.serving import serving


class FakeProxy:
    """`asked` has the targets; connections lead to `port` on loopback; `answer` other than 200 refuses."""

    def __init__(self, port: int) -> None:
        self.url = ""
        self.asked: list[str] = []
        self.port = port
        self.answer = 200

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one connection."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                self.asked.append(head.split()[1].decode())
                writer.write(b"HTTP/1.1 %d whatever\r\n\r\n" % self.answer)
                if self.answer == 200:
                    other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self.port)
                    try:
                        async with asyncio.TaskGroup() as group:
                            group.create_task(_copy(reader, other_writer))
                            group.create_task(_copy(other_reader, writer))
                    finally:
                        other_writer.close()
            finally:
                writer.close()


@asynccontextmanager
async def open_fake_proxy(port: int) -> AsyncIterator[FakeProxy]:
    """Serve on a loopback port."""
    proxy = FakeProxy(port)
    async with serving(proxy.serve) as listening:
        proxy.url = f"http://127.0.0.1:{listening}"
        yield proxy


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()
