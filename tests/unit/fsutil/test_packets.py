from __future__ import annotations

import os
import stat as st

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kubectl_build.errors import ProtocolError
from kubectl_build.fsutil import packets
from kubectl_build.fsutil.receive import EntryOrder
from kubectl_build.fsutil.stat import MODE_DIR, MODE_SYMLINK, Stat, device_numbers, go_mode, unix_permissions
from kubectl_build.proto.fsutil_pb2 import Packet

_stats = some.builds(
    Stat,
    path=some.text(min_size=1),
    mode=some.integers(0, 2**32 - 1),
    size=some.integers(0, 2**63 - 1),
    mod_time=some.integers(-(2**63), 2**63 - 1),
    linkname=some.text(),
    devmajor=some.integers(0, 4095),
    devminor=some.integers(0, 2**20),
    xattrs=some.none() | some.dictionaries(some.text(), some.binary(), min_size=1),
)


@given(stat=_stats)
def test_stat_when_decoded_is_what_was_encoded(stat: Stat) -> None:
    packet = Packet.FromString(packets.encode_stat(stat))

    assert packet.type == packets.STAT
    assert packets.decode_stat(packet.stat) == stat
    assert (packet.stat.uid, packet.stat.gid) == (0, 0)


@given(file_id=some.integers(0, 2**32 - 1), data=some.binary())
def test_data_head_before_data_is_a_data_packet(file_id: int, data: bytes) -> None:
    packet = Packet.FromString(packets.encode_data_head(file_id, len(data)) + data)

    assert packet == Packet(type=packets.DATA, ID=file_id, data=data)


def test_end_of_stats_is_a_stat_packet_without_a_stat() -> None:
    packet = Packet.FromString(packets.END_OF_STATS)

    assert packet.type == packets.STAT
    assert not packet.HasField("stat")


@given(permissions=some.integers(0, 0o7777))
def test_permissions_when_turned_to_go_and_back_are_the_same(permissions: int) -> None:
    assert unix_permissions(go_mode(st.S_IFREG | permissions)) == permissions


@given(major=some.integers(0, 4095), minor=some.integers(0, 2**20 - 1))
def test_device_numbers_are_those_of_the_system(major: int, minor: int) -> None:
    assert device_numbers(os.makedev(major, minor)) == (major, minor)


def _check(*stats: Stat) -> None:
    order = EntryOrder()
    for stat in stats:
        order.check(stat)


def _file(path: str, linkname: str = "") -> Stat:
    return Stat(path, 0o644, 0, 0, linkname)


def _dir(path: str) -> Stat:
    return Stat(path, MODE_DIR | 0o755, 0, 0)


def test_order_of_an_honest_sender_is_accepted() -> None:
    _check(_dir("a"), _dir("a/b"), _file("a/b/c"), _file("a/c", "a/b/c"), _file("a.b"), _dir("b"), Stat("é", MODE_SYMLINK, 0, 0, "/x"))


@pytest.mark.parametrize(
    "stats",
    [
        [_file("/a")],
        [_file("..")],
        [_file("../a")],
        [_dir("a"), _file("a/../b")],
        [_file("a/")],
        [_file("a\0b")],
        [_file("a/b")],
        [_file("a"), _file("a/b")],
        [_file("a"), _file("a")],
        [_dir("a"), _dir("a")],
        [_file("b"), _file("a")],
        [_dir("a"), _file("b"), _file("a/c")],
        [Stat("l", MODE_SYMLINK, 0, 0, "/etc"), _file("l/passwd")],
        [Stat("l", MODE_SYMLINK, 0, 0, "")],
        [_file("b", "a")],
        [_file("b", "/etc/passwd")],
        [Stat("l", MODE_SYMLINK, 0, 0, "/etc/passwd"), _file("m", "l")],
    ],
)
def test_order_of_a_hostile_sender_is_refused(stats: list[Stat]) -> None:
    with pytest.raises(ProtocolError, match="refused"):
        _check(*stats)
