from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from kubectl_build.errors import ConnectionLost, DialError, KubectlBuildError
from kubectl_build.model.stream import ByteStream
from kubectl_build.transport.bridge import bridge
from kubectl_build.transport.sockets import unix_dialer
from tests.fakes.byte_stream import memory_pair, receive_exactly


def _path(target: str) -> str:
    assert target.startswith("unix:")
    return target.removeprefix("unix:")


async def _ended(stream: ByteStream) -> None:
    """Read until the bridge has closed its end."""
    try:
        while await stream.receive():
            pass
    except ConnectionLost:
        pass


class BrokenStream:
    """Takes everything and fails on receive, once asked to."""

    def __init__(self, failure: KubectlBuildError) -> None:
        self.failure = failure
        self.go = asyncio.Event()
        self.closed = False

    async def receive(self) -> bytes:
        await self.go.wait()
        raise self.failure

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        raise ConnectionLost("a send that failed and knows no reason")

    async def send_eof(self) -> None: ...

    async def aclose(self) -> None:
        self.closed = True


async def test_bridge_pipes_each_connection_to_a_stream_of_its_own() -> None:
    async with memory_pair() as (near_1, far_1), memory_pair() as (near_2, far_2):
        streams = iter([near_1, near_2])

        async def dial() -> ByteStream:
            return next(streams)

        async with bridge(dial) as it:
            one = await unix_dialer(_path(it.target))()
            await one.send(b"first")
            assert await receive_exactly(far_1, 5) == b"first"
            two = await unix_dialer(_path(it.target))()
            await two.send(b"second")
            assert await receive_exactly(far_2, 6) == b"second"
            await far_1.send(b"answer 1")
            await far_2.send(b"answer 2")

            assert await receive_exactly(one, 8) == b"answer 1"
            assert await receive_exactly(two, 8) == b"answer 2"
            await one.aclose()
            await two.aclose()
            await _ended(far_1)
            await _ended(far_2)
            assert it.failure is None


async def test_bridge_socket_is_private_and_removed_afterwards() -> None:
    async def dial() -> ByteStream:
        raise AssertionError("nobody connects")

    async with bridge(dial) as it:
        folder = Path(_path(it.target)).parent
        mode = stat.S_IMODE(folder.stat().st_mode)

    assert mode == 0o700
    assert not folder.exists()


async def test_bridge_in_a_deep_temporary_directory_still_has_a_usable_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 80) / ("e" * 80)
    deep.mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(deep))

    async def dial() -> ByteStream:
        raise AssertionError("nobody connects")

    async with bridge(dial) as it:
        assert len(os.fsencode(_path(it.target))) < 104


async def test_bridge_dial_that_fails_closes_the_connection_and_is_kept() -> None:
    failure = DialError("no pod")

    async def dial() -> ByteStream:
        raise failure

    async with bridge(dial) as it:
        stream = await unix_dialer(_path(it.target))()
        await _ended(stream)
        await stream.aclose()

        assert it.failure is failure


async def test_bridge_stream_that_breaks_is_kept_and_closed() -> None:
    broken = BrokenStream(ConnectionLost("the pod was deleted"))
    broken.go.set()

    async def dial() -> ByteStream:
        return broken

    async with bridge(dial) as it:
        stream = await unix_dialer(_path(it.target))()
        await _ended(stream)
        await stream.aclose()

        assert it.failure is broken.failure
    assert broken.closed


async def test_bridge_failed_send_waits_for_the_reason_of_the_other_direction() -> None:
    broken = BrokenStream(ConnectionLost("the pod was deleted"))

    async def dial() -> ByteStream:
        return broken

    async with bridge(dial) as it:
        stream = await unix_dialer(_path(it.target))()
        await stream.send(b"x")
        asyncio.get_running_loop().call_later(0.05, broken.go.set)
        await _ended(stream)
        await stream.aclose()

        assert it.failure is broken.failure


async def test_bridge_stream_that_the_builder_ends_is_a_failure() -> None:
    async with memory_pair() as (near, far):

        async def dial() -> ByteStream:
            return near

        async with bridge(dial) as it:
            stream = await unix_dialer(_path(it.target))()
            await far.send(b"bye")
            assert await receive_exactly(stream, 3) == b"bye"
            await far.aclose()
            await _ended(stream)
            await stream.aclose()

            assert it.failure is not None
            assert it.failure.message == "the builder ended the connection"


async def test_bridge_left_while_connections_are_open_ends_them_without_a_failure() -> None:
    async with memory_pair() as (near, far):

        async def dial() -> ByteStream:
            return near

        async with bridge(dial) as it:
            stream = await unix_dialer(_path(it.target))()
            await stream.send(b"x")
            await receive_exactly(far, 1)

        await _ended(stream)
        await _ended(far)
        assert it.failure is None
        await stream.aclose()
