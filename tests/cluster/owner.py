"""Whose cluster it is, and the two locks: of the commands `up` and `down`, and of running tests."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from tests.cluster import layout
from tests.cluster.say import Trouble, say

COMMAND_LOCK = layout.RUN.with_name(f"{layout.RUN.name}.lock")
"""Beside RUN, for `down` removes RUN while it holds this one."""
_SAY_EVERY_S = 30.0


@dataclass(frozen=True, slots=True)
class Owner:
    """The checkout that started the cluster; complete is when its `up` last came to its end with every process new or kept."""

    checkout: str
    logs: str
    complete: bool = False


def read() -> Owner | None:
    """Return the record of the running cluster, None without one."""
    try:
        return Owner(**json.loads(layout.OWNER_FILE.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as exc:
        raise Trouble(f"{layout.OWNER_FILE} is not a record of an owner: {exc}") from exc


def write(owner: Owner) -> None:
    """Replace the record."""
    layout.RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
    partial = layout.OWNER_FILE.with_suffix(".new")
    partial.write_text(json.dumps(asdict(owner)) + "\n")
    partial.rename(layout.OWNER_FILE)


def _acquire(file: IO[str], how: int, reason: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    said = float("-inf")
    while True:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            now = time.monotonic()
            if now - said > _SAY_EVERY_S:
                file.seek(0)
                say(f"waiting: {reason} ({file.read().strip() or 'unknown holder'})")
                said = now
            if now > deadline:
                raise Trouble(f"{reason} for {timeout_s:.0f} s; giving up") from None
            time.sleep(0.2)


@contextmanager
def _locked(path: Path, how: int, reason: str, timeout_s: float, holder: str) -> Iterator[None]:
    """Hold a lock on the file that is at `path` now: one that was removed while we waited locks nobody out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("a+") as file:
            _acquire(file, how, reason, timeout_s)
            try:
                current = os.fstat(file.fileno()).st_ino == path.stat().st_ino
            except FileNotFoundError:
                current = False
            if not current:
                continue
            file.truncate(0)
            file.write(f"pid {os.getpid()}, {holder}\n")
            file.flush()
            yield
            return


@contextmanager
def command_lock(timeout_s: float = 1800.0) -> Iterator[None]:
    """Hold the lock of `up` and `down`."""
    with _locked(COMMAND_LOCK, fcntl.LOCK_EX, "another cluster command runs", timeout_s, str(layout.CHECKOUT)):
        yield


@contextmanager
def no_tests(timeout_s: float = 7200.0) -> Iterator[None]:
    """Wait until no tests use the cluster, and keep new ones away."""
    with _locked(layout.TESTS_LOCK_FILE, fcntl.LOCK_EX, "tests use the cluster", timeout_s, f"stopping for {layout.CHECKOUT}"):
        yield


@contextmanager
def tests_lock(timeout_s: float) -> Iterator[None]:
    """For tests: keep the cluster from being stopped or handed over. Any number of test runs hold it together."""
    with _locked(layout.TESTS_LOCK_FILE, fcntl.LOCK_SH, "the cluster is being stopped", timeout_s, f"tests of {layout.CHECKOUT}"):
        yield
