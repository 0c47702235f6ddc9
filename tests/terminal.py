"""A real terminal for tests: a tmux server of its own with one window, whose screen can be read."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tests.cluster import tools

_SECONDS = 20.0


@cache
def tmux() -> str:
    """This machine's tmux, else the Debian package's. Raises Trouble where there is neither."""
    return shutil.which("tmux") or str(tools.ensure(["tmux"])["tmux"])


class Terminal:
    """One window, in which a shell waits for commands."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        # A socket of its own: a server that was told to end still takes a client for a moment, and drops it.
        self._socket = Path(tempfile.mkdtemp(prefix="t", dir=folder)) / "s"
        self._variables = dict(variables)

    def run(self, *words: str) -> str:
        """Give tmux a command and return what it says."""
        environ = {"LC_ALL": "C.UTF-8", "TERM": "xterm-256color"} | self._variables
        command = [tmux(), "-u", "-f", os.devnull, "-S", str(self._socket), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environ, timeout=_SECONDS).stdout

    def type(self, line: str) -> None:
        """Type a line and press Enter."""
        self.run("send-keys", "-t", "test", "-l", line)
        self.run("send-keys", "-t", "test", "Enter")

    def resize(self, columns: int, rows: int) -> None:
        """Make the window another size."""
        self.run("resize-window", "-t", "test", "-x", str(columns), "-y", str(rows))

    def screen(self, *, history: bool = False) -> list[str]:
        """The lines on the screen without blank ones at the end; with `history` also those that have left it at the top."""
        words = ("-S", "-") if history else ()
        return self.run("capture-pane", "-p", *words, "-t", "test").rstrip("\n").split("\n")

    def wait(self, condition: Callable[[list[str]], bool], what: str, *, seconds: float = _SECONDS) -> list[str]:
        """Look at the screen until it is as expected; there is no event to wait for in a terminal."""
        until = time.monotonic() + seconds
        while not condition(screen := self.screen()):
            assert time.monotonic() < until, f"waited for {what}, and the screen is\n" + "\n".join(screen)
            time.sleep(0.05)
        return screen


@contextmanager
def open_terminal(folder: Path, *, cwd: Path, columns: int, rows: int, variables: Mapping[str, str]) -> Iterator[Terminal]:
    """A terminal whose shell has `variables` and shows no prompt."""
    terminal = Terminal(folder, variables)
    size = ("-x", str(columns), "-y", str(rows))
    terminal.run("new-session", "-d", "-c", str(cwd), "-s", "test", *size, shlex.join(["env", "PS1=", "TERM=xterm-256color", "sh"]))
    try:
        terminal.run("set-option", "-g", "status", "off")
        terminal.resize(columns, rows)
        yield terminal
    finally:
        terminal.run("kill-server")
