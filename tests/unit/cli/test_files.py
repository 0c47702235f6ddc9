"""The files that a build leaves: whole or not at all, and nothing removed that is no file of ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kubectl_build.cli.files import check_result_file, forget_result, write_result
from kubectl_build.errors import UsageError


def test_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "iid").write_text("old")

    check_result_file("--iidfile", tmp_path / "iid")
    write_result(tmp_path / "iid", "new")

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"iid": "new"}


def test_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        check_result_file("--metadata-file", pipe)
        forget_result(pipe)
        write_result(pipe, "{}\n")

        assert os.read(reader, 100) == b"{}\n"
        assert pipe.is_fifo()
    finally:
        os.close(reader)


def test_name_of_an_open_file_is_written_to_and_not_removed(tmp_path: Path) -> None:
    """/dev/stdout may lead to an ordinary file; removing it would take the machine's /dev/stdout away."""
    with (tmp_path / "out").open("wb") as output:
        name = Path(f"/proc/self/fd/{output.fileno()}")
        check_result_file("--iidfile", name)
        forget_result(name)
        write_result(name, "sha256:1")

    assert (tmp_path / "out").read_text() == "sha256:1"


def test_disk_that_is_full_is_told_with_the_files_name() -> None:
    with pytest.raises(UsageError, match='"/dev/full" cannot be written: no space left on device'):
        write_result(Path("/dev/full"), "x")


def test_file_that_cannot_be_written_is_refused_before_the_build(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no" / "file"):
        with pytest.raises(UsageError, match="cannot be written"):
            check_result_file("--iidfile", path)
