"""Walks a directory in the order in which fsutil's receiver wants it: parents before children, each directory's names in byte order."""

from __future__ import annotations

import os
import stat as st
from collections.abc import Iterator

from kubectl_build.errors import UsageError
from kubectl_build.fsutil.filter import Filter
from kubectl_build.fsutil.patterns import Matched
from kubectl_build.fsutil.stat import MODE_SYMLINK, Stat, device_numbers, go_mode, read_xattrs


class _Directory:
    """A directory that is being walked. `pending` while it has not been sent itself and waits for an entry below that is."""

    __slots__ = ("exclude", "include", "names", "path", "pending", "prefix", "subdirectories")

    def __init__(self, path: str, names: list[str], subdirectories: set[str], *, include: Matched, exclude: Matched, pending: bool) -> None:
        self.path = path
        self.prefix = f"{path}/" if path else ""
        self.names = iter(names)
        self.subdirectories = subdirectories
        self.include = include
        self.exclude = exclude
        self.pending = pending


def walk(root: str, selected: Filter) -> Iterator[Stat]:
    """Yield what `selected` sends of the directory `root`, which itself is not sent. Blocking; meant for a thread.

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

    def run(self) -> Iterator[Stat]:
        self._enter("", (), (), pending=False)
        while self._stack:
            directory = self._stack[-1]
            for name in directory.names:
                path = directory.prefix + name
                is_dir = name in directory.subdirectories
                send, descend, include, exclude = self._filter.decide(path, directory.include, directory.exclude)
                if send:
                    stat = self._stat(path)
                    if stat is None:
                        continue
                    yield from self._pending()
                    yield stat
                    is_dir = stat.is_dir
                if is_dir and descend:
                    self._enter(path, include, exclude, pending=not send)
                    break
            else:
                self._stack.pop()

    def _enter(self, path: str, include: Matched, exclude: Matched, *, pending: bool) -> None:
        names: list[str] = []
        subdirectories: set[str] = set()
        try:
            with os.scandir(os.path.join(self._root, path)) as entries:
                for entry in entries:
                    names.append(entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        subdirectories.add(entry.name)
        except (FileNotFoundError, NotADirectoryError):
            if not path:
                raise _unreadable(self._root, "no such directory") from None
            return
        except PermissionError as exc:
            if pending:
                return
            raise _unreadable(os.path.join(self._root, path), exc.strerror) from exc
        except OSError as exc:
            raise _unreadable(os.path.join(self._root, path), exc.strerror) from exc
        names.sort()  # code points sort as UTF-8's bytes do
        self._stack.append(_Directory(path, names, subdirectories, include=include, exclude=exclude, pending=pending))

    def _pending(self) -> Iterator[Stat]:
        for directory in self._stack:
            if directory.pending:
                directory.pending = False
                stat = self._stat(directory.path)
                if stat is not None:
                    yield stat

    def _stat(self, path: str) -> Stat | None:
        """Return the entry's Stat, or None when it has vanished."""
        full = f"{self._root}/{path}"
        _check_utf8(path, full, "name")
        try:
            status = os.lstat(full)
            mode = go_mode(status.st_mode)
            linkname = os.readlink(full) if mode & MODE_SYMLINK else ""
            xattrs = read_xattrs(full)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            raise _unreadable(full, exc.strerror) from exc
        if st.S_ISREG(status.st_mode) and status.st_nlink == 1:
            return Stat(path, mode, status.st_size, status.st_mtime_ns, "", 0, 0, xattrs)
        if st.S_ISDIR(status.st_mode):
            return Stat(path, mode, 0, status.st_mtime_ns, "", 0, 0, xattrs)
        if linkname:
            _check_utf8(linkname, full, "target")
        elif status.st_nlink > 1:
            first = self._sent_inodes.setdefault((status.st_dev, status.st_ino), path)
            linkname = first if first != path else ""
        major, minor = device_numbers(status.st_rdev)
        return Stat(path, mode, status.st_size, status.st_mtime_ns, linkname, major, minor, xattrs)


def _check_utf8(text: str, full: str, what: str) -> None:
    if text.isascii():
        return
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
