"""Locks of open files that other programs see: flock where the system has it, on Windows the lock of the file's first byte."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import msvcrt

    def try_lock(descriptor: int, *, exclusive: bool) -> bool:
        """Lock the open file if nobody else has; the lock ends when it is closed. Readers keep each other out here too. Raises OSError."""
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:  # what Windows calls a byte that is locked
            return False
        return True

else:
    import fcntl

    def try_lock(descriptor: int, *, exclusive: bool) -> bool:
        """Lock the open file, for readers together or for one writer, if nobody else has; the lock ends with the file. Raises OSError."""
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
