"""Walks a directory in the order in which fsutil's receiver wants it: parents before children, each directory's names in byte order.

Each directory is opened below its parent without following links, and what is in it is looked at through it. So a link that is put in a
directory's place meanwhile leads nowhere: a daemon could have that done by an output into the context that it reads, and decide when.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator, Iterator
from itertools import pairwise
from typing import Final

from kubectl_build.errors import UsageError
from kubectl_build.fsutil.filter import Filter
from kubectl_build.fsutil.patterns import Matched
from kubectl_build.fsutil.stat import (
    END_OF_TIMES,
    FIRST_TIME,
    MODE_DIR,
    MODE_SYMLINK,
    MODE_TYPE,
    Stat,
    device_numbers,
    go_mode,
    go_time,
    read_xattrs,
)

DIRECTORY: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
BY_DESCRIPTOR: Final = os.open in os.supports_dir_fd and os.scandir in os.supports_fd
"""Whether directories can be held open and looked into. Windows cannot."""

_PROC: Final = "/proc/self/fd"


class _Directory:
    """A directory that is being walked. `pending` while it has not been sent itself and waits for an entry below that is."""

    __slots__ = ("descriptor", "exclude", "include", "names", "path", "pending", "prefix", "subdirectories")

    def __init__(
        self,
        path: str,
        descriptor: int | None,
        names: list[str],
        subdirectories: set[str],
        *,
        include: Matched,
        exclude: Matched,
        pending: bool,
    ) -> None:
        self.path = path
        self.descriptor = descriptor
        self.prefix = f"{path}/" if path else ""
        self.names = iter(names)
        self.subdirectories = subdirectories
        self.include = include
        self.exclude = exclude
        self.pending = pending


def walk(root: str, selected: Filter) -> Generator[Stat, None, None]:
    """Yield what `selected` sends of the directory `root`, which itself is not sent. Blocking; meant for a thread. To be closed.

    A directory that is not selected comes just before the first selected entry in it. What vanishes meanwhile is skipped. The second name
    of a file that was sent has the first one as its `linkname`. Raises UsageError that names what cannot be read or has a name that is not
    UTF-8.
    """
    return _Walk(root, selected).run()


class _Walk:
    def __init__(self, root: str, selected: Filter) -> None:
        self._root = root
        self._filter = selected
        self._sent_inodes: dict[tuple[int, int], str] = {}
        self._stack: list[_Directory] = []
        self._waiting = 0  # how many of these are pending
        self._proc = BY_DESCRIPTOR and os.path.isdir(_PROC)

    def run(self) -> Generator[Stat, None, None]:
        try:
            yield from self._entries()
        finally:
            while self._stack:
                self._leave()

    def _entries(self) -> Iterator[Stat]:
        # Called for each of perhaps 200,000 entries, so that what is the same for all is looked up once.
        decide, everything = self._filter.decide, self._filter.open
        send = descend = True
        include: Matched = ()
        exclude: Matched = ()
        self._enter("", (), (), pending=False)
        while self._stack:
            directory = self._stack[-1]
            for name in directory.names:
                path = directory.prefix + name
                is_dir = name in directory.subdirectories
                if not everything:
                    send, descend, include, exclude = decide(path, directory.include, directory.exclude)
                if send:
                    stat = self._stat(path, name, directory)
                    if stat is None:
                        continue
                    if self._waiting:
                        yield from self._pending()
                    yield stat
                    is_dir = stat.mode & MODE_DIR != 0
                if is_dir and descend:
                    self._enter(path, include, exclude, pending=not send)
                    break
            else:
                self._leave()

    def _leave(self) -> None:
        directory = self._stack.pop()
        self._waiting -= directory.pending
        if directory.descriptor is not None:
            os.close(directory.descriptor)

    def _open(self, path: str) -> int | None:
        if not BY_DESCRIPTOR:
            return None
        if not self._stack:
            return os.open(self._root, DIRECTORY & ~getattr(os, "O_NOFOLLOW", 0))
        return os.open(path.rpartition("/")[2], DIRECTORY, dir_fd=self._stack[-1].descriptor)

    def _enter(self, path: str, include: Matched, exclude: Matched, *, pending: bool) -> None:
        names: list[str] = []
        subdirectories: set[str] = set()
        descriptor: int | None = None
        try:
            descriptor = self._open(path)
            with os.scandir(os.path.join(self._root, path) if descriptor is None else descriptor) as entries:
                for entry in entries:
                    names.append(entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        subdirectories.add(entry.name)
        except OSError as exc:
            if descriptor is not None:
                os.close(descriptor)
            if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP) and path:  # gone, or a link has been put in its place
                return
            if isinstance(exc, PermissionError) and pending:
                return
            vanished = isinstance(exc, FileNotFoundError | NotADirectoryError)
            raise _unreadable(os.path.join(self._root, path), "no such directory" if vanished else exc.strerror) from exc
        names.sort()  # code points sort as UTF-8's bytes do
        self._waiting += pending
        self._stack.append(_Directory(path, descriptor, names, subdirectories, include=include, exclude=exclude, pending=pending))

    def _pending(self) -> Iterator[Stat]:
        for parent, directory in pairwise(self._stack):
            if directory.pending:
                directory.pending = False
                self._waiting -= 1
                stat = self._stat(directory.path, directory.path.rpartition("/")[2], parent)
                if stat is not None:
                    yield stat

    def _stat(self, path: str, name: str, parent: _Directory) -> Stat | None:
        """Return the entry's Stat, or None when it has vanished."""
        full = f"{self._root}/{path}"
        above = parent.descriptor
        place = full if above is None else name
        if not name.isascii():
            _check_utf8(path, full, "name")
        try:
            status = os.lstat(place, dir_fd=above)
            mode = go_mode(status.st_mode)
            linkname = os.readlink(place, dir_fd=above) if mode & MODE_SYMLINK else ""
            xattrs = read_xattrs(full)
            if xattrs and self._proc:
                # Few files have any, and this way to them costs more: no link can lead away from it.
                xattrs = read_xattrs(f"{_PROC}/{above}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            raise _unreadable(full, exc.strerror) from exc
        time = status.st_mtime_ns
        if not FIRST_TIME <= time < END_OF_TIMES:
            time = go_time(time)
        if mode & MODE_DIR:
            return Stat(path, mode, 0, time, "", 0, 0, xattrs)
        links = status.st_nlink
        if links == 1 and not mode & MODE_TYPE:
            return Stat(path, mode, status.st_size, time, "", 0, 0, xattrs)
        if linkname:
            _check_utf8(linkname, full, "target")
        elif links > 1:
            first = self._sent_inodes.setdefault((status.st_dev, status.st_ino), path)
            linkname = first if first != path else ""
        major, minor = device_numbers(status.st_rdev)
        return Stat(path, mode, status.st_size, time, linkname, major, minor, xattrs)


def _check_utf8(text: str, full: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        shown = os.fsencode(full).decode("utf-8", "backslashreplace")
        raise UsageError(
            f'the {what} of "{shown}" is not valid UTF-8, so it cannot be sent', hint="rename it or exclude it in .dockerignore"
        ) from exc


def _unreadable(full: str, why: str | None) -> UsageError:
    shown = os.fsencode(full).decode("utf-8", "backslashreplace")
    return UsageError(
        f'"{shown}" cannot be read: {(why or "unknown error").lower()}', hint="change its permissions or exclude it in .dockerignore"
    )
