"""The live view in a real terminal, which is made narrower and lower while the build runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TMUX = shutil.which("tmux")
pytestmark = pytest.mark.skipif(TMUX is None, reason="tmux is not installed")

_SECONDS = 20.0


class Terminal:
    """A tmux server of its own with one window that runs one command."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "tmux"

    def run(self, *words: str) -> str:
        assert TMUX is not None
        environ = {**os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"} | {"NO_COLOR": "", "CI": ""}
        command = [TMUX, "-u", "-f", os.devnull, "-S", str(self._socket), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environ, timeout=_SECONDS).stdout

    def screen(self) -> list[str]:
        return self.run("capture-pane", "-p", "-t", "build").rstrip("\n").split("\n")

    def wait(self, condition: Callable[[list[str]], bool], what: str) -> list[str]:
        """Looks at the screen until it is as expected; there is no event to wait for in a terminal."""
        until = time.monotonic() + _SECONDS
        while not condition(screen := self.screen()):
            assert time.monotonic() < until, f"waited for {what}, and the screen is {screen}"
            time.sleep(0.05)
        return screen


@pytest.fixture
def terminal(tmp_path: Path, pytestconfig: pytest.Config) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    terminal.run("new-session", "-d", "-c", str(pytestconfig.rootpath), "-s", "build", "-x", "90", "-y", "24", "sh")
    terminal.run("send-keys", "-t", "build", "PS1=; clear", "Enter")
    terminal.run("send-keys", "-t", "build", f"clear; {sys.executable} -m tests.unit.progress.made_up_build {tmp_path}/fifo", "Enter")
    yield terminal
    terminal.run("kill-server")


def test_terminal_resized_during_a_build_has_one_picture_that_fits(terminal: Terminal, tmp_path: Path) -> None:
    first = terminal.wait(lambda screen: "        │ compiling" in screen, "the running step's output")
    assert "linux/amd64  native" in first

    terminal.run("resize-window", "-t", "build", "-x", "40", "-y", "10")
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
