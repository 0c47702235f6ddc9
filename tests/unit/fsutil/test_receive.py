from __future__ import annotations

import os
from pathlib import Path

import pytest

from kubectl_build.errors import ProtocolError, UsageError
from kubectl_build.fsutil import packets
from kubectl_build.fsutil.receive import Receiver
from kubectl_build.fsutil.stat import MODE_CHAR_DEVICE, MODE_DEVICE, MODE_DIR, MODE_FIFO, MODE_SYMLINK, Stat
from kubectl_build.proto.fsutil_pb2 import Packet


def _receive(target: Path, stats: list[Stat], data: bytes = b"data") -> None:
    receiver = Receiver(str(target))
    receiver.open()
    try:
        listing = [Packet.FromString(packets.encode_stat(stat)) for stat in stats] + [Packet()]
        for number in receiver.take(listing):
            receiver.take([Packet(type=packets.DATA, ID=number, data=data), Packet(type=packets.DATA, ID=number)])
        assert receiver.complete
        receiver.finish()
    finally:
        receiver.close()


def test_target_that_is_missing_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    _receive(tmp_path / "target", [Stat("f", 0o644, 4, 0)])

    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o700


def test_link_that_lies_in_the_target_is_replaced_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("untouched")
    target = tmp_path / "target"
    target.mkdir()
    (target / "d").symlink_to(outside)
    (target / "f").symlink_to(outside / "file")

    _receive(target, [Stat("d", MODE_DIR | 0o755, 0, 0), Stat("d/file", 0o644, 4, 0), Stat("f", 0o644, 4, 0)])

    assert (outside / "file").read_text() == "untouched"
    assert os.listdir(outside) == ["file"]
    assert (target / "d" / "file").read_bytes() == (target / "f").read_bytes() == b"data"


def test_link_that_is_swapped_in_for_a_directory_is_not_followed(tmp_path: Path) -> None:
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    receiver = Receiver(str(target))
    receiver.open()
    requests = receiver.take(
        [Packet.FromString(packets.encode_stat(stat)) for stat in (Stat("d", MODE_DIR | 0o755, 0, 0), Stat("d/x", 0o644, 4, 0))]
    )
    (target / "d").rmdir()
    (target / "d").symlink_to(outside)

    with pytest.raises(UsageError, match="cannot be written"):
        receiver.take([Packet(type=packets.DATA, ID=requests[0], data=b"data")])
    receiver.close()

    assert os.listdir(outside) == []


def test_directory_in_the_place_of_a_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "l" / "b").mkdir(parents=True)

    _receive(tmp_path, [Stat("a", 0o644, 4, 0), Stat("l", MODE_SYMLINK | 0o777, 1, 0, "a")])

    assert (tmp_path / "a").read_bytes() == b"data"
    assert (tmp_path / "l").is_symlink()


def test_special_files_are_made(tmp_path: Path) -> None:
    stats = [Stat("fifo", MODE_FIFO | 0o622, 0, 7)]
    if os.geteuid() == 0:
        stats.insert(0, Stat("dev", MODE_DEVICE | MODE_CHAR_DEVICE | 0o666, 0, 7, "", 1, 3))

    _receive(tmp_path, stats)

    assert (tmp_path / "fifo").is_fifo()
    assert (tmp_path / "fifo").stat().st_mode & 0o777 == 0o622
    if os.geteuid() == 0:
        assert (tmp_path / "dev").stat().st_rdev == os.makedev(1, 3)


def test_directory_that_is_closed_to_its_owner_is_filled_again(tmp_path: Path) -> None:
    stats = [Stat("d", MODE_DIR | 0o555, 0, 0), Stat("d/x", 0o444, 4, 0)]
    _receive(tmp_path, stats)
    _receive(tmp_path, stats, b"twice")

    assert (tmp_path / "d" / "x").read_bytes() == b"twice"
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o555


def test_data_that_was_not_asked_for_is_refused(tmp_path: Path) -> None:
    receiver = Receiver(str(tmp_path))
    receiver.open()
    with pytest.raises(ProtocolError, match="not asked for"):
        receiver.take([Packet(type=packets.DATA, ID=3, data=b"x")])
    receiver.close()


def test_target_that_is_a_file_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(UsageError, match="cannot be written"):
        Receiver(str(tmp_path / "file")).open()
