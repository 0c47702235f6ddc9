"""Long-running processes: started in sessions of their own, known again by pid and start time, never by name."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import cgroups, layout
from tests.cluster.say import Trouble, say

RECORDS = layout.RUN / "processes"
_LOG_LIMIT = 100 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What to run, in which control group.

    `files` are the configuration files it reads at its start: when one of them has changed, the process is restarted.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    cgroup: str = cgroups.DAEMONS

    def fingerprint(self) -> str:
        """Return a hash of everything that a running instance was started with."""
        content = [(str(path), hashlib.sha256(path.read_bytes()).hexdigest()) for path in self.files]
        return hashlib.sha256(repr((self.argv, sorted(self.environment.items()), content)).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Record:
    """A process that was started: start is the field of that name in /proc/PID/stat, in clock ticks after boot."""

    name: str
    pid: int
    start: int
    fingerprint: str

    def alive(self) -> bool:
        """Whether this very process runs: not a zombie, and not another one that got its pid."""
        return start_time(self.pid) == self.start


def parse_start_time(stat: str) -> int | None:
    """Return the start time in a /proc/PID/stat, None for a zombie. The name in it may contain spaces and parentheses."""
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])


def start_time(pid: int) -> int | None:
    """Return when process `pid` started, None when it does not run."""
    try:
        return parse_start_time(Path(f"/proc/{pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None


def record_of(name: str) -> Record | None:
    """Return what was recorded when `name` was last started."""
    try:
        return Record(**json.loads((RECORDS / f"{name}.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def records() -> list[Record]:
    """Return all processes that were started and not stopped."""
    found = (record_of(path.stem) for path in sorted(RECORDS.glob("*.json")))
    return [record for record in found if record is not None]


def up_to_date(process: Process) -> bool:
    """Whether `process` runs, from the same program and configuration."""
    record = record_of(process.name)
    return record is not None and record.alive() and record.fingerprint == process.fingerprint()


def start(process: Process, logs: Path) -> bool:
    """Start `process` unless it is up to date; returns whether it was started. Its output is appended to `logs/NAME.log`."""
    if up_to_date(process):
        return False
    before = record_of(process.name)
    if before is not None and before.alive():
        say(f"{process.name} has a new configuration: restarting it")
        stop(before)
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{process.name}.log"
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.rename(log.with_suffix(".log.1"))
    members = cgroups.tracking(cgroups.hierarchies()) / process.cgroup / "cgroup.procs"
    joined = ["/bin/sh", "-c", 'echo $$ >"$0" && cd / && exec "$@"', str(members), *process.argv]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(layout.RUN), **process.environment}
    # Not subprocess: its objects expect to see their child's end, and this one outlives us.
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    pid = os.posix_spawn(joined[0], joined, environment, file_actions=files, setsid=True)
    started = start_time(pid)
    if started is None:
        raise Trouble(f"{process.name} ended at once: see {log}")
    record = {"name": process.name, "pid": pid, "start": started, "fingerprint": process.fingerprint()}
    RECORDS.mkdir(parents=True, exist_ok=True)
    partial = RECORDS / f".{process.name}"
    partial.write_text(json.dumps(record))
    partial.rename(RECORDS / f"{process.name}.json")
    return True


def forget_dead() -> None:
    """Say which processes have died, and forget them, so that `records` has only living ones."""
    for record in records():
        if not record.alive():
            say(f"{record.name} has died")
            stop(record)


def stop(record: Record, grace_s: float = 5.0) -> None:
    """Ask a process to end, then make it; forget it."""
    deadline = time.monotonic() + grace_s
    try:
        while record.alive():
            os.kill(record.pid, signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL)
            pause = time.monotonic() + 0.5
            while record.alive() and time.monotonic() < pause:
                time.sleep(0.02)
    except ProcessLookupError:
        pass
    (RECORDS / f"{record.name}.json").unlink(missing_ok=True)
