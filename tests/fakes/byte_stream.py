"""What every ByteStream must do, as one suite, and an in-memory pair of them."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import pytest

from kubectl_build.errors import ConnectionLost
from kubectl_build.model.stream import ByteStream
from kubectl_build.transport.sockets import SocketStream

MakePair = Callable[[], AbstractAsyncContextManager[tuple[ByteStream, ByteStream]]]
"""Makes a stream under test and its peer; leaving the context closes both."""

_MIB = 1024 * 1024


@asynccontextmanager
async def memory_pair() -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    """Two ends of one stream inside this process."""
    left, right = socket.socketpair()
    near, far = SocketStream(left, "far"), SocketStream(right, "near")
    try:
        yield near, far
    finally:
        await near.aclose()
        await far.aclose()


async def check_byte_stream(make_pair: MakePair, *, half_close: bool = True) -> None:
    """Run the whole suite on fresh pairs; without `half_close` for a carrier that can only be closed as a whole."""
    for check in (
        _bytes_arrive_whole_and_in_order,
        _both_directions_at_once,
        _sender_waits_for_receiver,
        _receiver_waits_without_loss_after_cancel,
        *((_end_of_peer_is_seen, _end_of_ours_is_seen) if half_close else ()),
        _close_of_peer_is_not_a_hang,
        _close_wakes_own_receive,
        _closed_stream_refuses,
    ):
        async with asyncio.timeout(20), make_pair() as (near, far):
            await check(near, far)


async def receive_exactly(stream: ByteStream, size: int) -> bytes:
    """Read `size` bytes; fails when the stream ends before."""
    data = bytearray()
    while len(data) < size:
        part = await stream.receive()
        assert part, f"the stream ended after {len(data)} of {size} bytes"
        data += part
    assert len(data) == size
    return bytes(data)


async def _bytes_arrive_whole_and_in_order(near: ByteStream, far: ByteStream) -> None:
    sizes = [1, 2, 125, 126, 127, 4096, 65535, 65536, 70000, 3]
    blob = random.Random(1).randbytes(sum(sizes))
    for sender, receiver in ((near, far), (far, near)):
        offset = 0
        for size in sizes:
            part = memoryview(blob)[offset : offset + size]
            async with asyncio.TaskGroup() as group:
                group.create_task(sender.send(part))
                received = await receive_exactly(receiver, size)
            offset += size
            assert part == received


async def _both_directions_at_once(near: ByteStream, far: ByteStream) -> None:
    blob = random.Random(2).randbytes(8 * _MIB)

    async def send(stream: ByteStream) -> None:
        for offset in range(0, len(blob), 300_000):
            await stream.send(blob[offset : offset + 300_000])

    async with asyncio.TaskGroup() as group:
        group.create_task(send(near))
        group.create_task(send(far))
        results = [group.create_task(receive_exactly(stream, len(blob))) for stream in (near, far)]

    for result in results:
        assert hashlib.sha256(blob).digest() == hashlib.sha256(result.result()).digest()


async def _sender_waits_for_receiver(near: ByteStream, far: ByteStream) -> None:
    total = 64 * _MIB

    async def send(stream: ByteStream) -> None:
        for _ in range(total // _MIB):
            await stream.send(bytes(_MIB))

    for sender, receiver in ((near, far), (far, near)):
        sending = asyncio.create_task(send(sender))
        done, _ = await asyncio.wait([sending], timeout=0.2)
        assert not done, "64 MiB were taken although nobody read: nothing bounds the memory"
        received = 0
        while received < total:
            received += len(await receiver.receive())
        await sending


async def _receiver_waits_without_loss_after_cancel(near: ByteStream, far: ByteStream) -> None:
    for sender, receiver in ((near, far), (far, near)):
        waiting = asyncio.create_task(receiver.receive())
        await asyncio.wait([waiting], timeout=0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await sender.send(b"after")

        assert await receive_exactly(receiver, 5) == b"after"


async def _end_of_peer_is_seen(near: ByteStream, far: ByteStream) -> None:
    await far.send(b"last")
    await far.send_eof()

    assert await receive_exactly(near, 4) == b"last"
    assert await near.receive() == b""
    assert await near.receive() == b""


async def _end_of_ours_is_seen(near: ByteStream, far: ByteStream) -> None:
    await near.send(b"last")
    await near.send_eof()

    assert await receive_exactly(far, 4) == b"last"
    assert await far.receive() == b""
    await far.send(b"still here")
    assert await receive_exactly(near, 10) == b"still here"


async def _close_of_peer_is_not_a_hang(near: ByteStream, far: ByteStream) -> None:
    await far.aclose()
    with suppress(ConnectionLost):
        assert await near.receive() == b""
    with pytest.raises(ConnectionLost):
        await _send_for_ever(near)


async def _send_for_ever(stream: ByteStream) -> None:
    while True:
        await stream.send(bytes(_MIB))


async def _close_wakes_own_receive(near: ByteStream, far: ByteStream) -> None:
    waiting = asyncio.create_task(near.receive())
    await asyncio.wait([waiting], timeout=0.01)
    await near.aclose()

    with pytest.raises(ConnectionLost):
        await waiting


async def _closed_stream_refuses(near: ByteStream, far: ByteStream) -> None:
    await near.aclose()
    await near.aclose()

    with pytest.raises(ConnectionLost):
        await near.receive()
    with pytest.raises(ConnectionLost):
        await near.send(b"x")
    with pytest.raises(ConnectionLost):
        await near.send_eof()
