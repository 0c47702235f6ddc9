"""A TCP proxy whose connections can be cut, frozen, delayed and slowed: the network between two real parts."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_CHUNK = 64 * 1024
_QUEUED = 256
_RECEIVED = 256 * 1024


@dataclass
class Link:
    """A proxy that runs in a thread of its own. Every method may be called from any thread, and takes effect on open connections too."""

    address: str
    carried: int = 0
    """Bytes from clients to the server, as far as they were passed on."""
    _loop: asyncio.AbstractEventLoop = field(repr=False, kw_only=True)
    _target: tuple[str, int] = field(repr=False, kw_only=True)
    _delay: float = 0
    _rate: float = 0
    _limit: int = 0
    _refusing: bool = False
    _gates: tuple[asyncio.Event, asyncio.Event] = field(default_factory=lambda: (asyncio.Event(), asyncio.Event()), repr=False)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set, repr=False)

    def cut(self) -> None:
        """End all connections at once, as a middlebox does that has lost its state."""
        self._soon(self._abort)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody answers: connections are cut, and new ones end at once."""
        self._refusing = True
        self.cut()
        try:
            yield
        finally:
            self._refusing = False

    @contextmanager
    def frozen(self, *, up: bool = True, down: bool = True) -> Iterator[None]:
        """Nothing passes to the server (up) or from it (down), and no connection is closed.

        What was frozen is cut in the end: a middlebox that comes back does not know the connections of before.
        """
        gates = [gate for gate, chosen in zip(self._gates, (up, down), strict=True) if chosen]
        for gate in gates:
            self._soon(gate.clear)
        try:
            yield
        finally:
            self.cut()
            for gate in gates:
                self._soon(gate.set)

    @contextmanager
    def slow(self, *, delay: float = 0, rate: float = 0) -> Iterator[None]:
        """Each piece arrives `delay` seconds late, and at most `rate` bytes a second pass in each direction."""
        self._delay, self._rate = delay, rate
        try:
            yield
        finally:
            self._delay = self._rate = 0

    @contextmanager
    def holding(self, after: int) -> Iterator[Callable[[], bool]]:
        """Let so many bytes more pass to the server, then none while the body runs; the answer tells whether that has come."""
        self._limit = self.carried + after
        try:
            yield lambda: not self._gates[0].is_set()
        finally:
            self._limit = 0
            self._soon(self._gates[0].set)

    def _soon(self, call: Callable[[], object]) -> None:
        async def called() -> None:
            call()

        asyncio.run_coroutine_threadsafe(called(), self._loop).result(10)

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        # asyncio's server takes a connection's task that was cancelled, as it is in the end, for an error that nobody caught.
        with suppress(asyncio.CancelledError):
            await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        self._writers.add(writer)
        try:
            with suppress(OSError):
                other_reader, other_writer = await asyncio.open_connection(*self._target)
                self._writers.add(other_writer)
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._carry(reader, other_writer, up=True))
                        group.create_task(self._carry(other_reader, writer, up=False))
                finally:
                    self._writers.discard(other_writer)
                    other_writer.close()
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        """Pass one direction on. Reading and writing are apart, so that a delay does not also limit the rate."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUED)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(reader, queue))
            group.create_task(self._write(queue, writer, up=up))

    async def _read(self, reader: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
        data = b"-"
        while data:
            try:
                data = await reader.read(4096 if self._rate or self._limit else _CHUNK)
            except OSError:
                data = b""
            await queue.put((self._loop.time() + self._delay, data))

    async def _write(self, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, *, up: bool) -> None:
        gate = self._gates[0 if up else 1]
        with suppress(OSError):
            while True:
                due, data = await queue.get()
                await gate.wait()
                await asyncio.sleep(max(0, due - self._loop.time()))
                if not data:
                    writer.close()
                    return
                if self._rate:
                    await asyncio.sleep(len(data) / self._rate)
                writer.write(data)
                await writer.drain()
                if up:
                    self.carried += len(data)
                    if self._limit and self.carried >= self._limit:
                        gate.clear()
        # The reader may wait for room in the queue.
        while data:
            _, data = await queue.get()


@contextmanager
def open_link(host: str, target: tuple[str, int]) -> Iterator[Link]:
    """Run a proxy to `target` on a free port of `host`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="link", daemon=True)
    thread.start()
    link = Link("", _loop=loop, _target=target)
    for gate in link._gates:
        loop.call_soon_threadsafe(gate.set)
    listening = socket.create_server((host, 0))
    # What a client can send ahead of what has passed is no more than some MiB.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVED)
    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(link.serve, sock=listening), loop).result(10)
    link.address = f"{host}:{server.sockets[0].getsockname()[1]}"
    try:
        yield link
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
