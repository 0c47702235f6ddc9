"""A wire to a unix socket that can be cut, or frozen as a network that swallows everything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.fakes.serving import serving


class Wire:
    """Connections to `path` lead to `target`. A frozen wire takes connections and bytes, and neither moves nor ends them."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self.connections = 0
        self._target = target
        self._moves = asyncio.Event()
        self._moves.set()
        self._open: set[asyncio.StreamWriter] = set()

    def freeze(self) -> None:
        """Move no byte any more, until thawed."""
        self._moves.clear()

    def thaw(self) -> None:
        """Move bytes of new connections; those of before stay frozen."""
        self._moves = asyncio.Event()
        self._moves.set()

    def cut(self) -> None:
        """Break every connection there is."""
        for writer in tuple(self._open):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one connection."""
        self.connections += 1
        moves = self._moves
        other_reader, other_writer = await asyncio.open_unix_connection(str(self._target))
        ends = {writer, other_writer}
        self._open |= ends
        try:
            async with asyncio.TaskGroup() as group:
                up = group.create_task(_copy(reader, other_writer, moves))
                down = group.create_task(_copy(other_reader, writer, moves))
                await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
                up.cancel()
                down.cancel()
        finally:
            self._open -= ends
            for end in ends:
                end.transport.abort()


@asynccontextmanager
async def open_wire(path: Path, target: Path) -> AsyncIterator[Wire]:
    """Listen at `path`."""
    wire = Wire(path, target)
    async with serving(wire.serve, path):
        yield wire


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, moves: asyncio.Event) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(64 * 1024):
            await moves.wait()
            writer.write(data)
            await writer.drain()
