"""What a daemon sends as a result: paths that lead out, files that are none, more than there can be."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from kubectl_build.errors import KubectlBuildError, ProtocolError
from kubectl_build.fsutil import packets
from kubectl_build.fsutil.receive import Receiver, remove_others
from kubectl_build.fsutil.stat import MODE_DEVICE, MODE_DIR, MODE_FIFO, MODE_IRREGULAR, MODE_SETUID, MODE_SOCKET, MODE_SYMLINK, Stat
from kubectl_build.proto.control_pb2 import BytesMessage
from kubectl_build.proto.fsutil_pb2 import Packet
from kubectl_build.session import DirTarget, FileSend, FileTarget, Session
from tests.hostile.client import build
from tests.hostile.conftest import Place
from tests.hostile.daemon import Daemon, serve
from tests.unit.session.peer import Call, Peer, served

_SEND = "/moby.filesync.v1.FileSend/DiffCopy"
_HUGE = (1 << 63) - 1


def _link(path: str, target: str) -> Stat:
    return Stat(path, MODE_SYMLINK | 0o777, 0, 0, target)


def _file(path: str, **fields: object) -> Stat:
    return Stat(path, 0o644, 1, 0)._replace(**fields)  # type: ignore[arg-type]  # fields of any kind


def _folder(path: str) -> Stat:
    return Stat(path, MODE_DIR | 0o755, 0, 0)


_TREES: dict[str, list[Stat]] = {
    "up": [_file("../outside/x")],
    "up from within": [_folder("d"), _file("d/../../outside/x")],
    "absolute": [_file("/etc/x")],
    "dots": [_file(".")],
    "nothing": [_file("")],
    "a slash too many": [_folder("d"), _file("d//x")],
    "a null": [_file("x\0y")],
    "through a link": [_link("l", "../outside"), _file("l/x")],
    "through a link that becomes a directory": [_link("l", "../outside"), _folder("l"), _file("l/x")],
    "twice": [_file("x"), _file("x")],
    "out of order": [_file("b"), _file("a")],
    "without its directory": [_file("d/x")],
    "below a file": [_file("d"), _file("d/x")],
    "a hard link out": [_file("x", linkname="../outside/canary")],
    "a hard link to a link": [_link("l", "../outside/canary"), _file("x", linkname="l")],
    "a hard link to itself": [_file("x", linkname="x")],
    "a link to nothing": [_link("l", "")],
    "a link with a null": [_link("l", "a\0b")],
    "a link of a megabyte": [_link("l", "x" * (1 << 20))],
    "a name of a megabyte": [_file("x" * (1 << 20))],
    "a device that cannot be": [Stat("x", MODE_DEVICE | 0o666, 0, 0, "", _HUGE, -_HUGE)],
    "a socket": [Stat("x", MODE_SOCKET | 0o666, 0, 0)],
    "of no kind": [Stat("x", MODE_IRREGULAR | 0o666, 0, 0)],
    "of every kind": [Stat("x", 0xFFFFFFFF, 0, 0)],
    "times that cannot be": [_file("x", mod_time=-_HUGE - 1), _file("y", mod_time=_HUGE), _link("z", "x")._replace(mod_time=_HUGE)],
    "attributes that cannot be": [_file("x", xattrs={"user.a\0b": b"x", "": b"", "security.capability": b"x", "u" * 300: b"x" * 70000})],
    "a size that cannot be": [_file("x", size=-1), _file("y", size=_HUGE)],
    "deeper than can be": [_folder("/".join("d" * n)) for n in range(1, 600)],
}


def _receive(target: Path, stats: Iterable[Stat]) -> None:
    receiver = Receiver(str(target))
    try:
        receiver.open()
        for stat in stats:
            for number in receiver.take([Packet.FromString(packets.encode_stat(stat))]):
                receiver.take([Packet(type=packets.DATA, ID=number, data=b"data"), Packet(type=packets.DATA, ID=number)])
        receiver.take([Packet()])
        receiver.finish()
    finally:
        receiver.close()


@pytest.mark.parametrize("stats", _TREES.values(), ids=_TREES.keys())
def test_tree_that_is_odd_stays_below_its_directory(place: Place, stats: list[Stat]) -> None:
    target = place.context / "out"
    refused = ""
    try:
        _receive(target, stats)
    except KubectlBuildError as error:
        refused = error.message

    assert place.untouched()
    assert sorted(path.name for path in place.context.iterdir()) == ["Dockerfile", "file", "link", "out", "up"]
    for path in target.rglob("*"):
        status = path.lstat()
        assert not (path.is_file() and not path.is_symlink() and status.st_ino == (place.outside / "canary").stat().st_ino)
    assert len(refused) < 9000


def test_tree_too_deep_for_this_machine_is_refused_and_can_be_removed(place: Place) -> None:
    target = place.context / "out"
    for _ in range(2):  # the second time in the place of what the first has left
        receiver = Receiver(str(target))
        receiver.open()
        with pytest.raises(ProtocolError, match="too deep"):
            receiver.take(Packet.FromString(packets.encode_stat(stat)) for stat in _TREES["deeper than can be"])
        receiver.close()
    _receive(target, [_file("d")])
    assert (target / "d").read_bytes() == b"data"
    remove_others(str(target), set())
    assert os.listdir(target) == []


async def _deliver(peer: Peer, *messages: bytes, number: str = "0") -> Call:
    call = await peer.call(_SEND, *messages, headers=[("buildkit-attachable-exporter-id", number)], end=False)
    peer.h2.end_stream(call.id)
    await peer.finished(call)
    return call


async def test_results_that_nobody_wants_are_refused(place: Place) -> None:
    out = FileSend({0: DirTarget(place.context / "out"), 1: FileTarget(place.context / "file.tar")})
    async with served(Session(shared_key="", attachables=[out])) as peer:
        for number in ("2", "-1", "x", "9" * 5000, "\u0663"):
            call = await _deliver(peer, packets.encode_stat(_file("x")), packets.END_OF_STATS, number=number)
            assert call.status is not None
            assert call.status[0] != 0, number
        data = Packet(type=packets.DATA, ID=7, data=b"x").SerializeToString()
        assert (await _deliver(peer, data)).status != (0, "")
        assert (await _deliver(peer, Packet(type=packets.REQ, ID=1).SerializeToString())).status != (0, "")

    assert place.untouched()
    assert not out.completed


async def test_file_that_comes_twice_is_written_once(place: Place) -> None:
    out = FileSend({1: FileTarget(place.context / "file.tar")})
    async with served(Session(shared_key="", attachables=[out])) as peer:
        first = await _deliver(peer, BytesMessage(data=b"first").SerializeToString(), number="1")
        second = await _deliver(peer, BytesMessage(data=b"second").SerializeToString(), number="1")

    assert first.status == (0, "")
    assert second.status is not None
    assert second.status[0] != 0
    assert (place.context / "file.tar").read_bytes() == b"first"


async def test_command_ends_in_words_when_its_output_leads_out(place: Place) -> None:
    async def send(peer: Peer) -> None:
        call = await peer.call(_SEND, packets.encode_stat(_link("l", "../../outside")), packets.encode_stat(_file("l/x")), end=False)
        await peer.finished(call)

    async with serve(Daemon(script=send), place.socket) as address:
        outcome = await build(address, place.context, ".", "--progress=plain", "--output=out")

    outcome.civil()
    assert place.untouched()


async def test_entries_by_the_ten_thousand_take_little_memory(place: Place) -> None:
    async def send(peer: Peer) -> None:
        call = await peer.call(_SEND, end=False)
        for block in range(100):
            links = (packets.encode_stat(Stat(f"{block:03d}-{number:04d}", MODE_FIFO | MODE_SETUID | 0o600, 0, 0)) for number in range(200))
            await peer.send(call, *links)
        await peer.send(call, packets.END_OF_STATS)
        await peer.pump(lambda: call.messages or call.status)

    async with serve(Daemon(script=send), place.socket) as address:
        outcome = await build(address, place.context, ".", "--progress=plain", "--output=out")

    assert outcome.civil().code in (0, 5), outcome
