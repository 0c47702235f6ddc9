"""How much is told of a build beyond its progress: -v, -vv and --debug."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from kubectl_build.model.events import Note, Phase, Sink
from kubectl_build.progress.display import Mode
from kubectl_build.progress.phases import Phases

STEPS = 1
"""-v: every step stays on the terminal, and the phases with their times are told last."""
DETAILS = 2
"""-vv, --debug: the frontend's warnings in full, and each phase as soon as it has ended."""


@asynccontextmanager
async def phases_told(level: int, mode: Mode) -> AsyncIterator[Phases | None]:
    """Collect phases in the body; tell them when it has ended, whichever way. None where nobody wants them or stderr is for a program."""
    if level < STEPS or mode in ("quiet", "rawjson"):
        yield None
        return
    phases = Phases(began=time.time() - _process_age(), clock=time.time)
    try:
        yield phases
    finally:
        print(phases.table(), file=sys.stderr)


def with_phases(phases: Phases | None, level: int, emit: Sink) -> Sink:
    """`emit`, with phases taken in before it and, at a high level, told as notes."""
    if phases is None:
        return emit

    def tell(phase: Phase) -> None:
        of = f" of pool {phase.pool}" if phase.pool else ""
        emit(Note(text=f"phase {phase.name}{of} took {phase.ended - phase.began:.2f}s"))

    return phases.before(emit, tell=tell if level >= DETAILS else None)


def _process_age() -> float:
    """Seconds since this process began, its imports included; where the system does not tell, the time that it has computed."""
    try:
        ticks = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(ticks) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        return time.process_time()
