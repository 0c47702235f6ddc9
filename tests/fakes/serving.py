"""Servers of byte streams for tests, which leave nothing open: what is not closed is told at some later test, as that one's failure."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_TURNS = 3
"""Turns of the loop between a connection's acceptance and the beginning of what handles it."""


@asynccontextmanager
async def serving(handle: Handle, path: Path | None = None, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve connections on a loopback port, which is yielded, or at a socket's `path`.

    A connection is closed when `handle` returns. Leaving cancels those that are still handled, and waits until they have ended.
    """
    handled: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handled.add(task)
        try:
            await handle(reader, writer)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        finally:
            writer.transport.abort()
            handled.discard(task)

    if path is None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    else:
        server = await asyncio.start_unix_server(serve, path)
    try:
        yield 0 if path else server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        for task in tuple(handled):
            task.cancel()
        while handled:
            await asyncio.wait(tuple(handled))
        await server.wait_closed()
        await asyncio.sleep(0)  # the transports that were aborted last close in the next turn
