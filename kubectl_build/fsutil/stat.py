"""A file's metadata as it goes over the wire: fsutil's Stat, made from lstat as its mkstat does."""

from __future__ import annotations

import errno
import os
import stat as st
from collections.abc import Mapping
from functools import cache
from typing import Final, NamedTuple

# Bits of Go's os.FileMode, which is what a Stat's mode holds.
MODE_DIR: Final = 1 << 31
MODE_SYMLINK: Final = 1 << 27
MODE_DEVICE: Final = 1 << 26
MODE_FIFO: Final = 1 << 25
MODE_SETUID: Final = 1 << 23
MODE_SETGID: Final = 1 << 22
MODE_CHAR_DEVICE: Final = 1 << 21
MODE_STICKY: Final = 1 << 20
MODE_IRREGULAR: Final = 1 << 19
MODE_SOCKET: Final = 1 << 24
MODE_TYPE: Final = MODE_DIR | MODE_SYMLINK | MODE_FIFO | MODE_SOCKET | MODE_DEVICE | MODE_CHAR_DEVICE | MODE_IRREGULAR

_TYPES: Final = {
    st.S_IFREG: 0,
    st.S_IFDIR: MODE_DIR,
    st.S_IFLNK: MODE_SYMLINK,
    st.S_IFIFO: MODE_FIFO,
    st.S_IFBLK: MODE_DEVICE,
    st.S_IFCHR: MODE_DEVICE | MODE_CHAR_DEVICE,
    st.S_IFSOCK: 0,  # fsutil clears the type of a socket, so it arrives as an empty file
}


class Stat(NamedTuple):
    """One entry. `mode` is Go's FileMode; `mod_time` nanoseconds since the epoch; `linkname` a symlink's target, or the path of the
    entry that a hard link is a link to. Owner and group are always root on the wire and are not kept."""

    path: str
    mode: int
    size: int
    mod_time: int
    linkname: str = ""
    devmajor: int = 0
    devminor: int = 0
    xattrs: Mapping[str, bytes] | None = None

    @property
    def is_dir(self) -> bool:
        """A directory."""
        return self.mode & MODE_DIR != 0

    @property
    def has_data(self) -> bool:
        """The receiver may ask for contents. Both sides must agree on this (fsutil, fileCanRequestData)."""
        return self.mode & MODE_TYPE == 0


FIRST_TIME: Final = -(1 << 63)
END_OF_TIMES: Final = 1 << 63
"""Nanoseconds since the epoch that 64 bits hold: from FIRST_TIME (in 1677) to before this (in 2262). File systems go beyond."""


def go_time(nanoseconds: int) -> int:
    """Fit a time into 64 bits as Go's Time.UnixNano does, from which fsutil takes it: what is beyond them wraps around."""
    return (nanoseconds - FIRST_TIME) % (END_OF_TIMES - FIRST_TIME) + FIRST_TIME


@cache
def go_mode(mode: int) -> int:
    """Turn st_mode, which has 16 bits, into Go's FileMode as fsutil sends it."""
    result = (mode & 0o777) | _TYPES.get(st.S_IFMT(mode), 0)
    if mode & 0o7000:
        result |= (mode & st.S_ISUID and MODE_SETUID) | (mode & st.S_ISGID and MODE_SETGID) | (mode & st.S_ISVTX and MODE_STICKY)
    return result


def unix_permissions(mode: int) -> int:
    """Turn the permission, setuid, setgid and sticky bits of Go's FileMode into those of st_mode."""
    special = (mode & MODE_SETUID and st.S_ISUID) | (mode & MODE_SETGID and st.S_ISGID) | (mode & MODE_STICKY and st.S_ISVTX)
    return (mode & 0o777) | special


def device_numbers(rdev: int) -> tuple[int, int]:
    """Split st_rdev as fsutil does (stat_unix.go)."""
    return (rdev >> 8) & 0xFFF, (rdev & 0xFF) | ((rdev >> 12) & 0xFFF00)


if hasattr(os, "listxattr"):

    def read_xattrs(path: str) -> Mapping[str, bytes] | None:
        """Return the extended attributes of `path` itself but for macOS's own, None without any. Raises OSError.

        A value that cannot be read is left out, as fsutil does.
        """
        try:
            names = os.listxattr(path, follow_symlinks=False)
        except OSError as exc:
            if exc.errno == errno.ENOTSUP:
                return None
            raise
        if not names:
            return None
        found: dict[str, bytes] = {}
        for name in names:
            if name.startswith("com.apple."):
                continue
            try:
                found[name] = os.getxattr(path, name, follow_symlinks=False)
            except OSError:
                continue
        return found or None

else:  # macOS and Windows: the standard library has no such calls

    def read_xattrs(path: str) -> Mapping[str, bytes] | None:
        """Return None: extended attributes cannot be read here."""
        return None
