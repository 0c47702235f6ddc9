"""The live view in a real terminal, which is made narrower and lower while the build runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.say import Trouble
from tests.terminal import Terminal, open_terminal, tmux


@pytest.fixture
def terminal(tmp_path: Path, pytestconfig: pytest.Config) -> Iterator[Terminal]:
    try:
        tmux()
    except Trouble as trouble:
        pytest.skip(f"there is no tmux: {trouble}")
    os.mkfifo(tmp_path / "fifo")
    environ = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR")}
    with open_terminal(tmp_path, cwd=pytestconfig.rootpath, columns=90, rows=24, variables=environ) as terminal:
        terminal.type(f"clear; {sys.executable} -m tests.unit.progress.made_up_build {tmp_path}/fifo")
        yield terminal


def test_terminal_resized_during_a_build_has_one_picture_that_fits(terminal: Terminal, tmp_path: Path) -> None:
    first = terminal.wait(lambda screen: "        │ compiling" in screen, "the running step's output")
    assert "linux/amd64  native" in first

    terminal.resize(40, 10)
    terminal.wait(_cut, "a narrow picture")
    narrow = terminal.wait(lambda screen: sum("Building" in line for line in screen) == 1, "one picture")
    assert all(len(line) <= 40 for line in narrow)

    (tmp_path / "fifo").write_text("")
    last = terminal.wait(lambda screen: "after the build" in screen, "the end")
    end = last.index("after the build")
    assert last[end - 3].startswith("Finished  ")
    assert last[end - 3].endswith("2 steps")
    assert last[end - 2 : end] == [" ✔ FROM docker.io/library/busybo…  1.0s", " ✔ RUN make                        1.0s"]
    assert not any("Building" in line for line in last)


def _cut(screen: list[str]) -> bool:
    return any(line.startswith(" ✔ FROM") and "…" in line for line in screen)
