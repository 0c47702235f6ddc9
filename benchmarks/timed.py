"""A command as its user sees it: started, ended, with the wall time between, the peak of its memory, and what it said."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.say import Trouble

_SECONDS = 600.0
_SIZES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_TAIL = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One run. `peak` is in bytes: the largest resident set that the process, or one it waited for, ever had."""

    command: Sequence[str]
    seconds: float
    peak: int
    stdout: str = field(repr=False)
    stderr: str = field(repr=False)

    def sent(self) -> float:
        """Bytes of context that were sent, as the plain progress of both tools tells it."""
        told = re.findall(r"transferring context: ([\d.]+)([kMG]?B)\b", self.stderr)
        return max((float(count) * _SIZES[unit] for count, unit in told), default=0.0)

    def must(self, holds: bool, what: str) -> Timed:
        """Check a result: raises Trouble with what was said when it does not hold."""
        if not holds:
            raise Trouble(f"{' '.join(self.command)}: {what}\n{self.stderr[-_TAIL:]}")
        return self


@dataclass(slots=True)
class _Started:
    command: Sequence[str]
    process: subprocess.Popen[bytes]
    since: float
    stdout: Path
    stderr: Path

    def end(self) -> None:
        """Make an end of it and of what it started, if that has not come yet."""
        if self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


def _start(command: Sequence[str], environment: Mapping[str, str], directory: str) -> _Started:
    stdout, stderr = Path(directory, "stdout"), Path(directory, "stderr")
    with stdout.open("wb") as out, stderr.open("wb") as err:
        since = time.monotonic()
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=directory, start_new_session=True
        )
    return _Started(command, process, since, stdout, stderr)


def _reap(started: _Started) -> Timed:
    """Wait for the end. The kernel's own account of this process is read, so nothing else that runs is in the figures."""
    process = started.process
    late = threading.Timer(_SECONDS, started.end)
    late.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started.since
    finally:
        late.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    done = Timed(
        command=started.command,
        seconds=seconds,
        peak=usage.ru_maxrss * 1024,
        stdout=started.stdout.read_text(errors="replace"),
        stderr=started.stderr.read_text(errors="replace"),
    )
    return done.must(process.returncode == 0, f"exit code {process.returncode} after {seconds:.1f} s")


def run(command: Sequence[str], environment: Mapping[str, str]) -> Timed:
    """Run a command to its end. Raises Trouble when it fails, or does not end in ten minutes."""
    return together([command], environment)


def together(commands: Sequence[Sequence[str]], environment: Mapping[str, str]) -> Timed:
    """Run several at once: the seconds are from the first start to the last end, `peak` is of the largest, the rest of the first.

    Whatever ends this early also ends them.
    """
    with tempfile.TemporaryDirectory(prefix="kubectl-build-bench-run-") as temporary:
        started: list[_Started] = []
        try:
            for number, command in enumerate(commands):
                directory = Path(temporary, str(number))
                directory.mkdir()
                started.append(_start(command, environment, str(directory)))
            done = [_reap(one) for one in started]
        finally:
            for one in started:
                one.end()
        seconds = max(one.since + timed.seconds for one, timed in zip(started, done, strict=True)) - started[0].since
        return Timed(
            command=done[0].command,
            seconds=seconds,
            peak=max(timed.peak for timed in done),
            stdout=done[0].stdout,
            stderr=done[0].stderr,
        )
