"""A file of this machine that a result is written to, whole or not at all. Everything here blocks.

Who reads a pipe may stop, or not have begun. So opening and writing are generators, to be run by `threads.drive`: they yield while a pipe
takes nothing, so that whoever waits for them can be cancelled.
"""

from __future__ import annotations

import errno
import os
import secrets
import select
import stat
import time
from collections.abc import Generator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from kubectl_build.errors import UsageError, system_words

_PATIENCE: Final = 0.1
"""Seconds that a pipe is waited for at a time: how long a cancellation may take."""
_OWN: Final = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class OutputFile:
    """A file, or an open file descriptor, which stays the caller's.

    A file is written beside its place and renamed by `commit`; its directory is made when it is missing. A pipe or device that exists is
    written to. `close` removes what was not committed, and may be called at any time. An OSError becomes a UsageError that names the file.
    """

    def __init__(self, dest: str | Path | int, *, shown: str = "") -> None:
        """Nothing is done before `open`. `shown` is what errors call it, where `dest` is a name that the user did not give."""
        self._dest = dest
        self._shown = shown or ("output stdout" if dest == 1 else f'output "{dest}"')
        self._temporary = ""
        self._descriptor = -1
        self._poll: select.poll | None = None

    def open(self) -> Generator[None, None, None]:
        """Get ready to write; a named pipe is waited for until somebody reads it. Raises UsageError."""
        try:
            if isinstance(self._dest, int):
                self._descriptor = _own(self._dest)
            elif os.path.exists(self._dest) and not stat.S_ISREG(os.stat(self._dest).st_mode):
                self._descriptor = yield from _opened_special(self._dest)
            else:
                self._make_file(os.path.realpath(self._dest))
            mode = os.fstat(self._descriptor).st_mode
        except OSError as exc:
            raise self._failed(exc) from exc
        if not stat.S_ISREG(mode) and hasattr(select, "poll"):  # on Windows a pipe that takes nothing is waited for
            self._poll = select.poll()
            self._poll.register(self._descriptor, select.POLLOUT)

    def _make_file(self, path: str) -> None:
        directory, name = os.path.split(path)
        os.makedirs(directory, mode=0o755, exist_ok=True)
        temporary = os.path.join(directory, f".{name[:200]}.{secrets.token_hex(4)}.part")
        self._descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OWN, 0o666)
        self._temporary = temporary

    def write(self, pieces: Iterable[bytes]) -> Generator[None, None, None]:
        """Append. Raises UsageError."""
        # A pipe that is ready takes so much without waiting.
        at_once = select.PIPE_BUF if self._poll is not None and os.get_blocking(self._descriptor) else None
        for piece in pieces:
            left = memoryview(piece)
            while left:
                if self._poll is not None and not self._poll.poll(_PATIENCE * 1000):
                    yield
                    continue
                try:
                    left = left[os.write(self._descriptor, left[:at_once]) :]
                except BlockingIOError:
                    yield
                except OSError as exc:
                    raise self._failed(exc) from exc

    def commit(self) -> None:
        """Put the file in its place. Raises UsageError."""
        if self._temporary and not isinstance(self._dest, int):
            try:
                descriptor, self._descriptor = self._descriptor, -1
                os.close(descriptor)  # Windows renames no file that is open
                os.replace(self._temporary, os.path.realpath(self._dest))
            except OSError as exc:
                raise self._failed(exc) from exc
            self._temporary = ""

    def close(self) -> None:
        """Close, and remove what was not put in its place."""
        if self._descriptor >= 0 and self._descriptor != self._dest:
            os.close(self._descriptor)
        self._descriptor = -1
        if self._temporary:
            os.unlink(self._temporary)
            self._temporary = ""

    def _failed(self, exc: OSError) -> UsageError:
        return UsageError(f"{self._shown} cannot be written: {system_words(exc)}")


def _opened_special(path: str | Path) -> Generator[None, None, int]:
    """Open a pipe or device for writing. By its own name: what /dev/stdout leads to need not have a path. Raises OSError."""
    while True:
        try:
            # Without O_NONBLOCK the system would wait for a pipe's reader, and nobody could stop it.
            return os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0) | _OWN)
        except OSError as exc:
            if exc.errno != errno.ENXIO or not stat.S_ISFIFO(os.stat(path).st_mode):
                raise
        time.sleep(_PATIENCE)
        yield


def _own(descriptor: int) -> int:
    """`descriptor`, or for a pipe one of our own that does not wait: to let the caller's not wait would do so for all who have it."""
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        with suppress(OSError):  # only Linux opens a pipe anew
            return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    return descriptor
