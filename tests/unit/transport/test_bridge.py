from __future__ import annotations

import asyncio
import os
import socket
import stat
import tempfile
import time
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


async def _no_dial() -> ByteStream:
    raise DialError("nobody connects in this test")


def _listening(folder: Path) -> socket.socket:
    """A directory like a bridge's own, with a socket in it."""
    folder.mkdir(mode=0o700)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(folder / "grpc"))
    listener.listen()
    return listener


async def test_bridge_directory_of_a_killed_process_is_removed_and_those_in_use_stay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed, new, alive, other = (tmp_path / f"kubectl-build-{name}" for name in ("killed", "new", "alive", "other"))
    for folder in (killed, new):
        _listening(folder).close()
    other.mkdir()
    with _listening(alive):
        long_ago = time.time() - 3600
        for folder in (killed, alive, other):
            os.utime(folder, (long_ago, long_ago))

        async with bridge(_no_dial):
            pass

        assert sorted(path.name for path in tmp_path.iterdir()) == ["kubectl-build-alive", "kubectl-build-new", "kubectl-build-other"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes files of others")
async def test_bridge_directory_of_another_user_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    theirs = tmp_path / "kubectl-build-theirs"
    _listening(theirs).close()
    os.utime(theirs, (0, 0))
    os.chown(theirs, 12345, 12345)

    async with bridge(_no_dial):
        pass

    assert theirs.exists()


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
