"""A file of this machine that a result is written to, whole or not at all. Everything here blocks."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from kubectl_build.errors import UsageError


class OutputFile:
    """A file, or an open file descriptor, which stays the caller's.

    A file is written beside its place and renamed by `commit`; its directory is made when it is missing. A pipe or device that exists is
    written to. `close` removes what was not committed, and may be called at any time. An OSError becomes a UsageError that names the file.
    """

    def __init__(self, dest: str | Path | int) -> None:
        """Nothing is done before `open`."""
        self._dest = dest
        self._temporary = ""
        self._descriptor = -1

    def open(self) -> None:
        """Get ready to write. Raises UsageError."""
        if isinstance(self._dest, int):
            self._descriptor = self._dest
            return
        path = os.path.realpath(self._dest)
        try:
            # By its own name: what /dev/stdout leads to need not have a path.
            if os.path.exists(self._dest) and not stat.S_ISREG(os.stat(self._dest).st_mode):
                self._descriptor = os.open(self._dest, os.O_WRONLY | os.O_CLOEXEC)
                return
            directory, name = os.path.split(path)
            os.makedirs(directory, mode=0o755, exist_ok=True)
            temporary = os.path.join(directory, f".{name[:200]}.{secrets.token_hex(4)}.part")
            self._descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            self._temporary = temporary
        except OSError as exc:
            raise self._failed(exc) from exc

    def write(self, pieces: Iterable[bytes]) -> None:
        """Append. Raises UsageError."""
        for piece in pieces:
            left = memoryview(piece)
            while left:
                try:
                    left = left[os.write(self._descriptor, left) :]
                except OSError as exc:
                    raise self._failed(exc) from exc

    def commit(self) -> None:
        """Put the file in its place. Raises UsageError."""
        if self._temporary and not isinstance(self._dest, int):
            try:
                os.replace(self._temporary, os.path.realpath(self._dest))
            except OSError as exc:
                raise self._failed(exc) from exc
            self._temporary = ""

    def close(self) -> None:
        """Close, and remove what was not put in its place."""
        if self._descriptor >= 0 and not isinstance(self._dest, int):
            os.close(self._descriptor)
        self._descriptor = -1
        if self._temporary:
            os.unlink(self._temporary)
            self._temporary = ""

    def _failed(self, exc: OSError) -> UsageError:
        where = "stdout" if self._dest == 1 else f'"{self._dest}"'
        return UsageError(f"output {where} cannot be written: {(exc.strerror or 'unknown error').lower()}")
