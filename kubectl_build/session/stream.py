"""One call that the daemon makes in a session, as its handler sees it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from kubectl_build.session.compression import Compression
from kubectl_build.session.rpc import INTERNAL, MessageReader, Metadata, RpcError, prefix

HIGH_WATER = 2 << 20
"""Bytes that a call may have queued before its handler waits."""

LOW_WATER = 1 << 20


class ServerStream:
    """A call. Messages come in by `receive`, go out by `send`; both wait where the other side is slower.

    Sending may be done from several tasks, each `send` being whole messages; receiving from one.
    """

    def __init__(self, method: str, metadata: Metadata, *, wake: Callable[[], None], consumed: Callable[[int], None]) -> None:
        """Made by the connection: `wake` says that there is something to send, `consumed` that so many bytes were taken."""
        self.method = method
        self.metadata = metadata
        self.compression: Compression | None = None
        """Set before anything is sent where messages of this call may be compressed."""
        self._wake = wake
        self._consumed = consumed
        self._reader = MessageReader()
        self._arrived = asyncio.Event()
        self._ended = False
        self._room = asyncio.Event()
        self._room.set()
        self.outgoing: deque[memoryview] = deque()
        self.outgoing_size = 0

    async def receive(self) -> list[bytes]:
        """Return what has arrived, at least one message; [] when the daemon has ended its side. Raises RpcError for a malformed one."""
        while True:
            before = self._reader.pending
            messages = self._reader.take()
            if taken := before - self._reader.pending:
                self._consumed(taken)
            if messages:
                return messages
            if self._ended:
                if self._reader.pending:
                    raise RpcError(INTERNAL, "the call ended within a message")
                return []
            self._arrived.clear()
            await self._arrived.wait()

    async def receive_one(self) -> bytes:
        """Return the message of a call that has exactly one. Raises RpcError where there is another number."""
        messages = await self.receive()
        while rest := await self.receive():
            messages += rest
        if len(messages) != 1:
            raise RpcError(INTERNAL, f"{self.method} takes one message, not {len(messages)}")
        return messages[0]

    async def send(self, framed: bytes) -> None:
        """Queue messages that already have their prefixes (rpc.frame, rpc.frame_all), then wait while too much is queued."""
        if framed:
            self.outgoing.append(memoryview(framed))
            self.outgoing_size += len(framed)
            self._wake()
        if self.outgoing_size > HIGH_WATER:
            self._room.clear()
        await self._room.wait()

    def pack(self, *parts: bytes) -> list[bytes]:
        """Return the message of `parts` with its prefix for `send`, compressed if that pays. For bulk; may be called in a thread."""
        if self.compression is not None:
            return self.compression.pack(*parts)
        return [prefix(sum(map(len, parts))), *parts]

    def feed(self, data: bytes) -> None:
        """Called by the connection: bytes came."""
        self._reader.feed(data)
        self._arrived.set()

    def feed_end(self) -> None:
        """Called by the connection: the daemon ended its side."""
        self._ended = True
        self._arrived.set()

    def take(self, limit: int) -> memoryview:
        """Called by the connection: remove and return at most `limit` bytes of what is queued."""
        head = self.outgoing[0]
        if len(head) <= limit:
            self.outgoing.popleft()
        else:
            self.outgoing[0] = head[limit:]
            head = head[:limit]
        self.outgoing_size -= len(head)
        if self.outgoing_size <= LOW_WATER:
            self._room.set()
        return head
