from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from kubectl_build.errors import ProtocolError, UsageError
from kubectl_build.fsutil import packets
from kubectl_build.fsutil.stat import MODE_DIR, MODE_SYMLINK, Stat
from kubectl_build.proto.control_pb2 import BytesMessage
from kubectl_build.proto.fsutil_pb2 import Packet
from kubectl_build.session.filesend import DirTarget, ExportTarget, FileSend, FileTarget
from kubectl_build.session.rpc import ALREADY_EXISTS, NOT_FOUND, UNKNOWN
from kubectl_build.session.session import Session
from tests.unit.session.peer import Peer, served

_METHOD = "/moby.filesync.v1.FileSend/DiffCopy"
_TIME = 1_600_000_000_123_456_789


def _session(target: ExportTarget) -> tuple[Session, FileSend]:
    files = FileSend({1: target})
    return Session(shared_key="", attachables=[files]), files


def _bytes(data: bytes) -> bytes:
    return BytesMessage(data=data).SerializeToString()


_HEADERS = [("buildkit-attachable-exporter-id", "1")]


async def test_file_when_complete_is_in_its_place(tmp_path: Path) -> None:
    dest = tmp_path / "out.tar"
    dest.write_text("before")
    session, files = _session(FileTarget(str(dest)))

    async with served(session) as peer:
        call = await peer.call(_METHOD, _bytes(b"one"), _bytes(b"two" * 1_000_000), headers=_HEADERS)
        assert await peer.finished(call) == (0, "")

    assert dest.read_bytes() == b"one" + b"two" * 1_000_000
    assert files.completed == {1}
    assert os.listdir(tmp_path) == ["out.tar"]


async def test_file_that_did_not_come_whole_leaves_nothing(tmp_path: Path) -> None:
    session, files = _session(FileTarget(tmp_path / "out.tar"))

    async with served(session) as peer:
        call = await peer.call(_METHOD, _bytes(b"one"), headers=_HEADERS, end=False)
        peer.h2.reset_stream(call.id)
        await peer.flush()

    assert os.listdir(tmp_path) == []
    assert files.completed == set()


async def test_file_descriptor_gets_the_bytes_and_stays_open(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as output:
        session, _ = _session(FileTarget(output.fileno()))
        async with served(session) as peer:
            assert await peer.finished(await peer.call(_METHOD, _bytes(b"data"), headers=_HEADERS)) == (0, "")
        output.write(b" and more")

    assert (tmp_path / "out").read_bytes() == b"data and more"


async def test_file_in_a_directory_that_is_missing_makes_the_directory(tmp_path: Path) -> None:
    session, files = _session(FileTarget(tmp_path / "a" / "b" / "out.tar"))

    async with served(session) as peer:
        headers = [*_HEADERS, ("exporter-md-image.name", "reg.invalid/app:1"), ("user-agent", "x")]
        assert await peer.finished(await peer.call(_METHOD, _bytes(b"x"), headers=headers)) == (0, "")

    assert (tmp_path / "a" / "b" / "out.tar").read_bytes() == b"x"
    assert files.metadata == {1: {"image.name": "reg.invalid/app:1"}}


async def test_file_that_is_a_link_to_a_pipe_without_a_path_is_written_to(tmp_path: Path) -> None:
    """As /dev/stdout is when stdout is a pipe."""
    source, sink = os.pipe()
    (tmp_path / "stdout").symlink_to(f"/proc/self/fd/{sink}")
    session, _ = _session(FileTarget(tmp_path / "stdout"))

    async with served(session) as peer:
        assert await peer.finished(await peer.call(_METHOD, _bytes(b"piped"), headers=_HEADERS)) == (0, "")
    os.close(sink)
    assert (os.read(source, 100), os.read(source, 100)) == (b"piped", b"")
    os.close(source)


async def test_pipe_whose_reader_does_not_read_holds_no_cancellation_up(tmp_path: Path) -> None:
    source, sink = os.pipe()
    session, files = _session(FileTarget(sink))

    async with asyncio.timeout(20):
        async with served(session) as peer:
            await peer.call(_METHOD, _bytes(b"x" * 1_000_000), headers=_HEADERS, end=False)
            assert await asyncio.to_thread(os.read, source, 1) == b"x"

    assert files.completed == set()
    assert os.get_blocking(sink)
    os.close(sink)
    os.close(source)


async def test_pipe_gets_all_the_bytes_of_a_slow_reader() -> None:
    source, sink = os.pipe()
    data = os.urandom(1_000_000)
    session, _ = _session(FileTarget(sink))

    def read() -> bytes:
        with os.fdopen(source, "rb", buffering=0) as pipe:
            return b"".join(iter(lambda: pipe.read(1000), b""))

    async with asyncio.TaskGroup() as group:
        reading = group.create_task(asyncio.to_thread(read))
        async with served(session) as peer:
            assert await peer.finished(await peer.call(_METHOD, _bytes(data), headers=_HEADERS)) == (0, "")
        os.close(sink)
    assert reading.result() == data


async def test_named_pipe_that_nobody_reads_holds_no_cancellation_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    session, files = _session(FileTarget(tmp_path / "pipe"))

    async with asyncio.timeout(20):
        async with served(session) as peer:
            await peer.call(_METHOD, _bytes(b"x"), headers=_HEADERS)

    assert files.completed == set()


async def test_named_pipe_is_waited_for_until_somebody_reads_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    session, _ = _session(FileTarget(tmp_path / "pipe"))

    async with served(session) as peer:
        call = await peer.call(_METHOD, _bytes(b"data"), headers=_HEADERS)
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(asyncio.to_thread((tmp_path / "pipe").read_bytes))
            assert await peer.finished(call) == (0, "")
    assert reading.result() == b"data"


async def test_file_that_is_a_directory_is_a_usage_error(tmp_path: Path) -> None:
    session, _ = _session(FileTarget(tmp_path))

    async with served(session) as peer:
        await peer.finished(await peer.call(_METHOD, _bytes(b"x"), headers=_HEADERS))

    assert isinstance(session.failure, UsageError)
    assert "is a directory" in session.failure.message


async def test_file_with_a_private_name_is_called_in_errors_as_it_is_shown(tmp_path: Path) -> None:
    session, _ = _session(FileTarget(tmp_path, shown='the parts of output "image.tar" in "/tmp"'))

    async with served(session) as peer:
        await peer.finished(await peer.call(_METHOD, _bytes(b"x"), headers=_HEADERS))

    assert isinstance(session.failure, UsageError)
    assert session.failure.message == 'the parts of output "image.tar" in "/tmp" cannot be written: is a directory'


async def test_file_below_a_file_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "no").touch()
    session, _ = _session(FileTarget(tmp_path / "no" / "out.tar"))

    async with served(session) as peer:
        await peer.finished(await peer.call(_METHOD, _bytes(b"x"), headers=_HEADERS))

    assert isinstance(session.failure, UsageError)
    assert str(tmp_path / "no" / "out.tar") in session.failure.message


async def test_file_that_has_come_is_not_taken_twice(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as output:
        session, _ = _session(FileTarget(output.fileno()))
        async with served(session) as peer:
            assert await peer.finished(await peer.call(_METHOD, _bytes(b"once"), headers=_HEADERS)) == (0, "")
            assert (await peer.finished(await peer.call(_METHOD, _bytes(b"twice"), headers=_HEADERS)))[0] == ALREADY_EXISTS

    assert (tmp_path / "out").read_bytes() == b"once"


async def test_exporter_without_a_target_is_not_found(tmp_path: Path) -> None:
    session, _ = _session(FileTarget(tmp_path / "out"))

    async with served(session) as peer:
        assert (await peer.finished(await peer.call(_METHOD, _bytes(b"x"))))[0] == NOT_FOUND


async def _send_tree(
    peer: Peer, stats: list[Stat], contents: dict[int, bytes], headers: Sequence[tuple[str, str]] = _HEADERS
) -> tuple[int, str]:
    call = await peer.call(_METHOD, *map(packets.encode_stat, stats), packets.END_OF_STATS, headers=headers, end=False)
    await peer.pump(lambda: call.status or len(call.messages) == len(contents))
    if call.status:
        return call.status
    assert sorted(Packet.FromString(message).ID for message in call.messages) == sorted(contents)
    for file_id, data in contents.items():
        chunks = [data[:10], data[10:]] if len(data) > 10 else [data]
        await peer.send(call, *(packets.encode_data_head(file_id, len(chunk)) + chunk for chunk in chunks if chunk))
        await peer.send(call, packets.encode_data_head(file_id, 0))
    await peer.pump(lambda: call.status or Packet.FromString(call.messages[-1]).type == packets.FIN)
    await peer.send(call, packets.FINISHED)
    peer.h2.end_stream(call.id)
    return await peer.finished(call)


async def test_tree_when_complete_is_merged_into_the_directory(tmp_path: Path) -> None:
    target = tmp_path / "out"
    (target / "b").mkdir(parents=True)
    (target / "b" / "kept").write_text("kept")
    (target / "a").write_text("replaced")
    session, _ = _session(DirTarget(target))
    stats = [
        Stat("a", 0o640, 20, _TIME),
        Stat("b", MODE_DIR | 0o555, 0, _TIME),
        Stat("b/empty", 0o755, 0, _TIME),
        Stat("b/hard", 0o640, 20, _TIME, "a"),
        Stat("c", MODE_SYMLINK | 0o777, 3, _TIME, "../../anywhere"),
    ]

    async with served(session) as peer:
        assert await _send_tree(peer, stats, {0: b"twenty bytes exactly", 2: b""}) == (0, "")

    assert (target / "a").read_bytes() == b"twenty bytes exactly"
    assert (target / "b" / "kept").read_text() == "kept"
    assert (target / "a").samefile(target / "b" / "hard")
    assert os.readlink(target / "c") == "../../anywhere"
    assert [(target / name).lstat().st_mtime_ns for name in ("a", "b", "b/empty", "c")] == [_TIME] * 4
    assert [(target / name).stat().st_mode & 0o7777 for name in ("a", "b", "b/empty")] == [0o640, 0o555, 0o755]


async def test_tree_that_breaks_off_leaves_no_parts(tmp_path: Path) -> None:
    session, _ = _session(DirTarget(tmp_path))

    async with served(session) as peer:
        call = await peer.call(_METHOD, packets.encode_stat(Stat("a", 0o644, 9, _TIME)), packets.END_OF_STATS, headers=_HEADERS, end=False)
        await peer.pump(lambda: call.messages)
        await peer.send(call, packets.encode_data_head(0, 4) + b"half")
        peer.h2.reset_stream(call.id)
        await peer.flush()

    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", ["../x", "/x", "a/../x", "a//x", "./x", "", "a/b"])
async def test_hostile_path_ends_the_call(tmp_path: Path, path: str) -> None:
    session, _ = _session(DirTarget(tmp_path / "out"))

    async with served(session) as peer:
        code, message = await _send_tree(peer, [Stat(path, 0o644, 1, _TIME)], {0: b"x"})

    assert code == UNKNOWN
    assert "refused" in message
    assert isinstance(session.failure, ProtocolError)
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(tmp_path / "out") == []


_MIRRORED = [*_HEADERS, ("buildkit-exporter-multi-platform", "1")]
_TREE = [
    Stat("a", 0o644, 1, _TIME),
    Stat("d", MODE_DIR | 0o555, 0, _TIME),
    Stat("d/b", 0o644, 1, _TIME),
    Stat("l", MODE_SYMLINK, 1, _TIME, "d"),
]


def _stale(target: Path) -> Path:
    """A directory with what an earlier result has left, links out of it included."""
    outside = target.parent / "outside"
    for directory in ("d/old/er", "gone/deep", "empty"):
        (target / directory).mkdir(parents=True)
    outside.mkdir()
    for file in ("d/old/er/x", "gone/deep/y", "d/c", "z", "../outside/precious"):
        (target / file).write_text("old")
    (target / "to-outside").symlink_to(outside)
    (target / "d" / "to-outside").symlink_to(outside)
    (target / "l").symlink_to(outside)
    (target / "gone" / "deep").chmod(0o555)
    (target / "d").chmod(0o555)
    return outside


async def test_tree_that_is_mirrored_removes_the_rest_and_follows_no_link(tmp_path: Path) -> None:
    target = tmp_path / "out"
    outside = _stale(target)
    (tmp_path / "link").symlink_to(target)
    session, files = _session(DirTarget(tmp_path / "link", mirror=True))

    async with served(session) as peer:
        assert await _send_tree(peer, _TREE, {0: b"x", 2: b"y"}, _MIRRORED) == (0, "")

    assert files.completed == {1}
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*")) == ["a", "d", "d/b", "l"]
    assert os.readlink(target / "l") == "d"
    assert ((target / "d").stat().st_mtime_ns, (target / "d").stat().st_mode & 0o7777) == (_TIME, 0o555)
    assert (outside / "precious").read_text() == "old"


async def test_tree_that_is_one_part_of_a_mirror_removes_nothing_and_tells_its_paths(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    seen = {"already"}
    session, _ = _session(DirTarget(tmp_path, mirror=True, seen=seen))

    async with served(session) as peer:
        assert await _send_tree(peer, _TREE, {0: b"x", 2: b"y"}, _MIRRORED) == (0, "")

    assert seen == {"already", "a", "d", "d/b", "l"}
    assert (tmp_path / "other").exists()


async def test_tree_that_breaks_off_removes_nothing(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    session, _ = _session(DirTarget(tmp_path, mirror=True))

    async with served(session) as peer:
        call = await peer.call(_METHOD, packets.encode_stat(Stat("a", 0o644, 9, _TIME)), packets.END_OF_STATS, headers=_MIRRORED, end=False)
        await peer.pump(lambda: call.messages)
        peer.h2.reset_stream(call.id)
        await peer.flush()

    assert os.listdir(tmp_path) == ["other"]


async def test_mirror_of_a_daemon_that_sends_platforms_apart_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    session, _ = _session(DirTarget(tmp_path, mirror=True))

    async with served(session) as peer:
        await _send_tree(peer, _TREE, {0: b"x", 2: b"y"})

    assert isinstance(session.failure, UsageError)
    assert os.listdir(tmp_path) == ["other"]
