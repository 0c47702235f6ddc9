"""Directories of the cache that are made once: whole or not at all, by one process at a time."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import layout
from tests.cluster.say import say


def key(parts: Iterable[str | bytes | Path]) -> str:
    """Return a short hash of what an item is made from; a Path stands for its file's bytes."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:12]


@contextmanager
def locked(item: str) -> Iterator[None]:
    """Hold the cache's lock of one item; says so when another process has it."""
    path = layout.cache() / "locks" / item
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that makes {item}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def ensure(kind: str, item: str, make: Callable[[Path], None]) -> Path:
    """Return `<cache>/<kind>/<item>`, made by `make(directory)` if it is missing.

    The directory gets its name only when `make` has returned, so an interrupted one is never taken for whole.
    """
    final = layout.cache() / kind / item
    if final.is_dir():
        return final
    with locked(item):
        if final.is_dir():
            return final
        partial = final.parent / f".partial-{item}-{os.getpid()}"
        for old in final.parent.glob(f".partial-{item}-*"):  # only an interrupted run leaves one: the lock is ours
            shutil.rmtree(old)
        partial.mkdir(parents=True)
        try:
            make(partial)
            partial.rename(final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return final
