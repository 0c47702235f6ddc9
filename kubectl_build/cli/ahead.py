"""The shared key of a large context, found by a process of its own while this one still loads what a build needs.

A thread would not do: it shares one interpreter with the loading, and a tree of 200,000 files takes half a second to look at.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from kubectl_build.pipeline import SharedKey

_LARGE = 2000
"""Entries from which on a process pays: it costs 2 ms, as much as the times of 700 files."""

_ORPHANED_SECONDS = 0.5
"""How often the process looks whether it still has somebody to tell."""


@contextmanager
def key_ahead(tree: Path | None, environ: Mapping[str, str]) -> Iterator[SharedKey | None]:
    """Yield what waits for the shared key of `tree` (session.shared_key); it may be called once, on an event loop.

    None where nothing was begun: without a tree or for a small one, where there are threads by now, which a fork would not take along,
    where another process may not be had, and on systems other than Linux, whose libraries may not be used after a fork. The process ends
    with the body at the latest, and soon after this one if that is killed.
    """
    if tree is None or not _alone() or not _is_large(tree):
        yield None
        return
    try:
        child, reader = _fork(tree, environ)
    except OSError:
        yield None
        return
    try:
        yield lambda: _told(reader, tree, environ)
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _alone() -> bool:
    try:
        return sys.platform == "linux" and len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


def _is_large(tree: Path) -> bool:
    left = _LARGE
    pending = [str(tree)]
    while pending:
        with suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                left -= 1
                if not left:
                    return True
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
    return False


def _fork(tree: Path, environ: Mapping[str, str]) -> tuple[int, int]:
    """Begin the process; return its number and the descriptor of what it says."""
    reader, writer = os.pipe()
    parent = os.getpid()
    try:
        child = os.fork()
    except OSError:
        os.close(reader)
        raise
    else:
        if not child:
            _find(tree, environ, writer, parent)
        return child, reader
    finally:
        os.close(writer)


def _find(tree: Path, environ: Mapping[str, str], writer: int, parent: int) -> NoReturn:
    """What the process does. It has no part in the terminal, in signals and in the end of the interpreter it came from."""
    try:
        for name in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_DFL)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nowhere, number)
        signal.signal(signal.SIGALRM, lambda *_: os.getppid() == parent or os._exit(1))
        signal.setitimer(signal.ITIMER_REAL, _ORPHANED_SECONDS, _ORPHANED_SECONDS)
        from kubectl_build.session.shared_key import session_shared_key

        os.write(writer, session_shared_key(tree, environ).encode())
    finally:
        os._exit(0)


async def _told(reader: int, tree: Path, environ: Mapping[str, str]) -> str:
    """What the process says; should it have ended without a word, the key is found here."""
    import asyncio

    from kubectl_build.session.shared_key import session_shared_key

    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(reader, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(reader)
    found = os.read(reader, 1024).decode()
    return found or await asyncio.to_thread(session_shared_key, tree, environ)
