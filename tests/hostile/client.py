"""The real command, run as a user runs it against a hostile daemon, with what it took: time, memory, words, exit code."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DEADLINE = 40.0
EXIT_CODES = frozenset({0, 1, 2, 3, 4, 5, 6, 124})
MEMORY_LIMIT = 300 << 20
"""Bytes that a client may take whatever it is sent. An ordinary build takes 70 MB; three messages of the longest size may be on the way."""

_TICK = 0.02
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x0d\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the command ended. `memory` is the most that it had resident, in bytes."""

    code: int
    stdout: str
    stderr: str
    seconds: float
    memory: int

    @property
    def error(self) -> str:
        """The sentence that it ended with, "" without one."""
        return next((line.removeprefix("error: ") for line in self.stderr.splitlines() if line.startswith("error: ")), "")

    def civil(self) -> Outcome:
        """Assert what holds whatever a daemon does: no traceback, a documented exit code, one sentence with it, no harm to a terminal."""
        assert "Traceback" not in self.stderr, self.stderr[-4000:]
        assert self.code in EXIT_CODES, (self.code, self.stderr[-2000:])
        errors = [line for line in self.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == (self.code != 0), self.stderr[-2000:]
        for text in (self.stdout, self.stderr):
            found = _CONTROL_CHARACTERS.search(text)
            assert found is None, f"{found.group()!r} in {text[max(0, found.start() - 80) : found.end() + 20]!r}"
        assert self.memory < MEMORY_LIMIT, f"{self.memory >> 20} MiB"
        assert self.seconds < DEADLINE
        return self


async def build(
    address: str, directory: Path, *arguments: str, environ: Mapping[str, str] | None = None, deadline: float = DEADLINE
) -> Outcome:
    """Run `kubectl build --builder ADDRESS` with `arguments` in `directory`; a command that is too slow is killed and fails the test."""
    command = [str(Path(sys.executable).with_name("kubectl-build")), f"--builder={address}", *arguments]
    return await asyncio.to_thread(_run, command, directory, environ or {}, deadline)


def _run(command: Sequence[str], directory: Path, environ: Mapping[str, str], deadline: float) -> Outcome:
    variables = {"PATH": os.environ["PATH"], "HOME": str(directory), "KUBECONFIG": os.devnull, "LANG": "C.UTF-8", **environ}
    out, err = directory.with_name("stdout"), directory.with_name("stderr")
    began = time.monotonic()
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(command, cwd=directory, env=variables, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)
        memory = 0
        while process.poll() is None:
            if time.monotonic() - began > deadline:
                process.kill()
            memory = max(memory, _peak(process.pid))
            time.sleep(_TICK)
    seconds = time.monotonic() - began
    said = err.read_text(errors="replace")
    assert process.returncode != -9, f"it had to be killed after {seconds:.0f} s: {said[-2000:]}"
    return Outcome(process.returncode, out.read_text(errors="replace"), said, seconds, memory)


def _peak(pid: int) -> int:
    """The most that a process had resident so far, in bytes. wait4 would count what this process has: it begins as its copy."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found.group(1)) * 1024 if found else 0
