from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from kubectl_build.errors import ContextChanged, UsageError
from kubectl_build.fsutil import packets
from kubectl_build.proto.fsutil_pb2 import Packet, Stat
from kubectl_build.session import filesync
from kubectl_build.session.filereader import CHUNK
from kubectl_build.session.filesync import FileSync, LocalDir
from kubectl_build.session.rpc import INVALID_ARGUMENT, NOT_FOUND, UNKNOWN
from kubectl_build.session.session import Session
from tests.unit.session.peer import Call, Peer, served

_METHOD = "/moby.filesync.v1.FileSync/DiffCopy"


class _Receiver:
    """Plays fsutil's receiver over one call."""

    def __init__(self, peer: Peer, call: Call) -> None:
        self._peer = peer
        self.call = call
        self._read = 0
        self.stats: list[Stat] = []
        self.listed = False
        self.contents: dict[int, bytes] = {}
        self.ended: set[int] = set()

    async def until(self, condition: str) -> None:
        """Wait until `listed`, or until all that was asked for has `ended`."""
        await self._peer.pump(lambda: self._reached(condition) or self.call.status)

    def _reached(self, condition: str) -> bool:
        self._take()
        return self.listed if condition == "listed" else self.ended == set(self.contents)

    def _take(self) -> None:
        for message in self.call.messages[self._read :]:
            self._read += 1
            packet = Packet.FromString(message)
            if packet.type == packets.STAT and packet.HasField("stat"):
                self.stats.append(packet.stat)
            elif packet.type == packets.STAT:
                self.listed = True
            elif packet.type == packets.DATA and packet.data:
                self.contents[packet.ID] += packet.data
            elif packet.type == packets.DATA:
                self.ended.add(packet.ID)

    async def request(self, *ids: int) -> None:
        self.contents |= dict.fromkeys(ids, b"")
        await self._peer.send(self.call, *(packets.encode_request(file_id) for file_id in ids))

    async def finish(self) -> tuple[int, str]:
        await self._peer.send(self.call, packets.FINISHED)
        return await self._peer.finished(self.call)

    def by_path(self) -> dict[str, bytes]:
        return {self.stats[file_id].path: data for file_id, data in self.contents.items()}


def _session(directory: Path) -> tuple[Session, FileSync]:
    files = FileSync({"context": LocalDir(directory)})
    return Session(shared_key="", attachables=[files]), files


async def _start(peer: Peer, *headers: tuple[str, str]) -> _Receiver:
    return _Receiver(peer, await peer.call(_METHOD, headers=[("dir-name", "context"), *headers], end=False))


async def test_all_files_when_asked_for_arrive_whole(tmp_path: Path) -> None:
    contents = {f"d{n % 7}/f{n}": os.urandom(n * 37 % 5000) for n in range(900)} | {"big": os.urandom(3 * CHUNK + 1), "empty": b""}
    for name, data in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    session, files = _session(tmp_path)

    async with served(session) as peer:
        receiver = await _start(peer)
        await receiver.until("listed")
        await receiver.request(*(number for number, stat in enumerate(receiver.stats) if not stat.mode >> 31))
        await receiver.until("ended")
        status = await receiver.finish()

    assert status == (0, "")
    assert receiver.by_path() == contents
    assert (files.files_sent, files.bytes_sent) == (len(contents), sum(map(len, contents.values())))
    assert Packet.FromString(receiver.call.messages[-1]).type == packets.FIN


@pytest.mark.parametrize("seconds", [13_569_465_600, 15_000_000_000], ids=["2400", "2445"])
async def test_file_of_a_time_beyond_64_bits_arrives_with_the_time_that_go_makes_of_it(tmp_path: Path, seconds: int) -> None:
    (tmp_path / "f").write_text("far")
    os.utime(tmp_path / "f", (seconds, seconds))
    if (tmp_path / "f").stat().st_mtime_ns < 2**63:
        pytest.skip("this file system has no such times")
    session, _ = _session(tmp_path)

    async with served(session) as peer:
        receiver = await _start(peer)
        await receiver.until("listed")
        await receiver.request(0)
        await receiver.until("ended")
        status = await receiver.finish()

    assert status == (0, "")
    assert receiver.by_path() == {"f": b"far"}
    assert receiver.stats[0].modTime == seconds * 10**9 - 2**64


async def test_nothing_asked_for_sends_no_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    session, files = _session(tmp_path)

    async with served(session) as peer:
        receiver = await _start(peer)
        await receiver.until("listed")
        assert await receiver.finish() == (0, "")

    assert [stat.path for stat in receiver.stats] == ["a"]
    assert files.files_sent == 0


async def test_expected_bytes_are_those_of_all_files_until_the_daemon_passes_over_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesync, "_TELL_INTERVAL", 0)
    sizes = {"a": 2_000_000, "b": 3_000_000, "c": 5_000_000, "d": 7_000_000}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(bytes(size))
    told: list[tuple[str, int]] = []
    files = FileSync({"context": LocalDir(tmp_path)}, tell=lambda name, expected: told.append((name, expected)))

    async with served(Session(shared_key="", attachables=[files])) as peer:
        receiver = await _start(peer)
        await receiver.until("listed")
        await receiver.request(1)
        await receiver.until("ended")
        at_first = told[-1]
        await receiver.request(3)
        await receiver.until("ended")
        then = told[-1]
        await receiver.finish()

    assert [name for name, _ in told] == ["context"] * len(told)
    assert 15_000_000 <= at_first[1] < 15_001_000  # "a" was passed over, "c" and "d" may be asked for
    assert 10_000_000 <= then[1] < 10_001_000
    assert told[-1] == ("context", 0)


async def test_expected_bytes_of_a_directory_that_is_sent_twice_at_once_are_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesync, "_TELL_INTERVAL", 0)
    (tmp_path / "a").write_bytes(bytes(CHUNK))
    told: list[int] = []
    files = FileSync({"context": LocalDir(tmp_path)}, tell=lambda _, expected: told.append(expected))

    async with served(Session(shared_key="", attachables=[files])) as peer:
        first, second = await _start(peer), await _start(peer)
        await second.until("listed")
        await first.until("listed")
        await first.request(0)
        await first.until("ended")
        while_both = list(told)
        await second.finish()
        await first.finish()

    assert while_both
    assert set(while_both) == {0}


async def test_patterns_that_are_escaped_are_unescaped(tmp_path: Path) -> None:
    for name in ("ü b", "c", "d+"):
        (tmp_path / name).touch()
    session, _ = _session(tmp_path)

    async with served(session) as peer:
        receiver = await _start(
            peer,
            ("exclude-patterns", "%C3%BC+b"),
            ("exclude-patterns", "d%2B"),
            ("exclude-patterns-encoded", "1"),
        )
        await receiver.until("listed")
        assert await receiver.finish() == (0, "")

    assert [stat.path for stat in receiver.stats] == ["c"]


async def test_unknown_directory_is_not_found(tmp_path: Path) -> None:
    session, _ = _session(tmp_path)

    async with served(session) as peer:
        code, message = await peer.finished(await peer.call(_METHOD, headers=[("dir-name", "other")]))

    assert code == NOT_FOUND
    assert '"other"' in message
    assert session.failure is None


async def test_number_of_a_directory_or_no_entry_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    session, _ = _session(tmp_path)

    for number in (0, 7):
        async with served(session) as peer:
            receiver = await _start(peer)
            await receiver.until("listed")
            await receiver.request(number)
            assert (await peer.finished(receiver.call))[0] == INVALID_ARGUMENT


async def test_error_of_the_receiver_ends_the_call(tmp_path: Path) -> None:
    session, _ = _session(tmp_path)

    async with served(session) as peer:
        receiver = await _start(peer)
        await peer.send(receiver.call, Packet(type=packets.ERR, data=b"disk full").SerializeToString())
        assert await peer.finished(receiver.call) == (UNKNOWN, "error from receiver: disk full")

    assert session.failure is None


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _touch(path: Path) -> None:
    os.utime(path, ns=(5, 5))


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


@pytest.mark.parametrize("change", [_append, _touch, _link, Path.unlink])
async def test_file_that_changed_after_its_stat_fails_the_build_by_name(tmp_path: Path, change: object) -> None:
    path = tmp_path / "changing"
    path.write_bytes(b"x" * 100)
    session, _ = _session(tmp_path)

    async with served(session) as peer:
        receiver = await _start(peer)
        await receiver.until("listed")
        assert callable(change)
        change(path)
        await receiver.request(0)
        code, message = await peer.finished(receiver.call)

    assert code == UNKNOWN
    assert str(path) in message
    assert isinstance(session.failure, ContextChanged)


async def test_file_that_changes_while_it_is_read_fails_the_build_by_name(tmp_path: Path) -> None:
    path = tmp_path / "growing"
    path.write_bytes(bytes(16 << 20))
    session, _ = _session(tmp_path)

    async with served(session, window=1 << 16) as peer:
        receiver = await _start(peer)
        await receiver.until("listed")
        peer.acknowledge = False
        await receiver.request(0)
        await peer.pump(lambda: peer.received > 50_000)
        await asyncio.to_thread(_append, path)
        peer.acknowledge = True
        peer.h2.acknowledge_received_data(0, receiver.call.id)
        peer.h2.increment_flow_control_window(64 << 20)
        peer.h2.increment_flow_control_window(64 << 20, receiver.call.id)
        await peer.finished(receiver.call)

    assert isinstance(session.failure, ContextChanged)
    assert "growing" in session.failure.message


async def test_name_that_is_not_utf8_fails_the_build_by_name(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff")).touch()
    session, _ = _session(tmp_path)

    async with served(session) as peer:
        receiver = await _start(peer)
        await peer.finished(receiver.call)

    assert isinstance(session.failure, UsageError)
    assert r"bad\xff" in session.failure.message


async def test_context_that_is_a_link_to_a_directory_is_sent(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").touch()
    (tmp_path / "link").symlink_to("real")
    session, _ = _session(tmp_path / "link")

    async with served(session) as peer:
        receiver = await _start(peer)
        await receiver.until("listed")
        assert await receiver.finish() == (0, "")

    assert [stat.path for stat in receiver.stats] == ["a"]
