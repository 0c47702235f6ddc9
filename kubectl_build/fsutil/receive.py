"""Writes a tree that comes in fsutil's packets into a directory, without trusting the sender.

Nothing is followed: each directory is opened below its parent without following links, so that no path can lead out of the target, whatever
lay there before. Files are written beside their place and renamed. What an ordinary user cannot set (owners, some attributes) is left out.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat as st
from collections.abc import Iterable, Iterator, Set
from typing import Final

from kubectl_build.errors import ProtocolError, UsageError, system_words
from kubectl_build.fsutil import packets
from kubectl_build.fsutil.stat import MODE_CHAR_DEVICE, MODE_DEVICE, MODE_FIFO, MODE_SYMLINK, Stat, unix_permissions
from kubectl_build.proto.fsutil_pb2 import Packet

_DIRECTORY: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


_LONGEST_PATH: Final = 4095
"""Characters of a path that any program can use, Linux's PATH_MAX."""

_DEEPEST: Final = 256
"""Directories in each other. With some thousand neither this program nor others can remove them again."""

_LONGEST_SHOWN: Final = 200


class Receiver:
    """One transfer. All methods block and are for one thread at a time. `complete` says that all entries and all contents have come."""

    def __init__(self, target: str, *, remember: bool = False) -> None:
        """`remember` the `paths` that come. Nothing is done before `open`; `close` may be called at any time."""
        self._target = target
        self._remember = remember
        self.paths: set[str] = set()
        self._root = -1
        self._order = EntryOrder()
        self._count = 0
        self._listed = False
        self._wanted: dict[int, Stat] = {}
        self._open: dict[int, _PartFile] = {}
        self._links: list[Stat] = []
        self._directories: list[Stat] = []

    def open(self) -> None:
        """Make the target directory if it is missing. Raises UsageError, also where files cannot be made below an open directory."""
        if os.open not in os.supports_dir_fd:
            raise UsageError(
                f'output "{self._target}" cannot be written: this system has no safe way to write a directory that others send',
                hint="use -o type=tar,dest=FILE, and unpack it",
            )
        try:
            os.makedirs(self._target, mode=0o700, exist_ok=True)  # as BuildKit's own client: the listing says nothing of it
            self._root = os.open(self._target, _DIRECTORY & ~getattr(os, "O_NOFOLLOW", 0))
        except OSError as exc:
            raise _failed(self._target, exc) from exc

    @property
    def complete(self) -> bool:
        """All entries and all contents have come; `finish` may be called."""
        return self._listed and not self._wanted

    def take(self, arrived: Iterable[Packet]) -> list[int]:
        """Apply packets in their order; return the numbers of the files to ask for.

        Raises ProtocolError for an entry that may not be (a hostile or repeated path), UsageError for what cannot be written.
        """
        requests: list[int] = []
        for packet in arrived:
            if packet.type == packets.STAT:
                if not packet.HasField("stat"):
                    self._listed = True
                elif self._entry(packets.decode_stat(packet.stat)):
                    requests.append(self._count - 1)
            elif packet.type == packets.DATA:
                self._data(packet.ID, packet.data)
            else:
                raise ProtocolError(f"the builder sent a packet of type {packet.type} within an output")
        return requests

    def finish(self) -> None:
        """Make the hard links, whose targets are complete only now, then set modes and times of directories, inner ones first."""
        for stat in self._links:
            with self._errors(stat.path), self._parent(stat.path) as (parent, name), self._parent(stat.linkname) as (source, source_name):
                self._clear(parent, name)
                os.link(source_name, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        for stat in reversed(self._directories):
            with self._errors(stat.path), self._parent(stat.path) as (parent, name):
                descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
                try:
                    _set_metadata(descriptor, stat)
                finally:
                    os.close(descriptor)

    def close(self) -> None:
        """Release everything and remove parts of files that did not come whole."""
        for part in self._open.values():
            part.discard()
        self._open.clear()
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def _entry(self, stat: Stat) -> bool:
        """Make one entry, or note it for later. Tells whether its contents are to be asked for."""
        self._order.check(stat)
        number = self._count
        self._count += 1
        if self._remember:
            self.paths.add(stat.path)
        if stat.is_dir:
            self._directories.append(stat)
            with self._errors(stat.path), self._parent(stat.path) as (parent, name):
                _make_directory(parent, name)
            return False
        if stat.linkname and not stat.mode & MODE_SYMLINK:
            self._links.append(stat)
            return False
        if stat.has_data:
            self._wanted[number] = stat
            return True
        with self._errors(stat.path), self._parent(stat.path) as (parent, name):
            self._clear(parent, name)
            _make_special(parent, name, stat)
        return False

    def _data(self, number: int, data: bytes) -> None:
        stat = self._wanted.get(number)
        if stat is None:
            raise ProtocolError(f"the builder sent data of file {number}, which was not asked for")
        with self._errors(stat.path):
            part = self._open.get(number)
            if part is None:
                with self._parent(stat.path) as (parent, name):
                    part = self._open[number] = _PartFile(parent, name)
            if data:
                part.write(data)
                return
            self._clear(part.parent, part.name, only_directory=True)
            part.commit(stat)
            del self._open[number]
            del self._wanted[number]

    def _clear(self, parent: int, name: str, *, only_directory: bool = False) -> None:
        """Remove what is in an entry's place; `only_directory` where a rename will replace anything else."""
        try:
            mode = os.lstat(name, dir_fd=parent).st_mode
        except FileNotFoundError:
            return
        if st.S_ISDIR(mode):
            _remove_tree(parent, name)
        elif not only_directory:
            os.unlink(name, dir_fd=parent)

    @contextlib.contextmanager
    def _parent(self, path: str) -> Iterator[tuple[int, str]]:
        """Open the directory that holds `path`, element by element and following nothing; yield it and the last element."""
        *elements, name = path.split("/")
        current = os.dup(self._root)
        try:
            for element in elements:
                inner = os.open(element, _DIRECTORY, dir_fd=current)
                os.close(current)
                current = inner
            yield current, name
        finally:
            os.close(current)

    @contextlib.contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise _failed(f"{self._target}/{path}", exc) from exc
        except RecursionError as exc:
            raise UsageError(f'output "{self._target}/{path}" cannot be written: what is in its place is too deep to be removed') from exc
        except (OverflowError, ValueError) as exc:
            raise ProtocolError(f"the builder sent {_shown(path)} with metadata that no file can have: {exc}") from exc


def remove_others(target: str, kept: Set[str]) -> None:
    """Remove what is below the directory `target` and not in `kept`, which has relative paths, those of directories too.

    No link is followed. Directories that stay keep their modes and times. Raises UsageError for what cannot be removed.
    """
    try:
        root = os.path.realpath(target)
        for directory, directories, files, descriptor in os.fwalk(root, onerror=_raise):
            base = os.path.relpath(directory, root)
            others = [name for name in (*directories, *files) if os.path.normpath(os.path.join(base, name)) not in kept]
            directories[:] = [name for name in directories if name not in others]
            if others:
                _remove(descriptor, others)
    except OSError as exc:
        raise _failed(target if exc.filename is None else f"{target}: {exc.filename}", exc) from exc
    except RecursionError as exc:
        raise UsageError(f'output "{target}" cannot be written: what is there is too deep to be removed') from exc


def _remove(parent: int, names: Iterable[str]) -> None:
    before = os.fstat(parent)
    os.fchmod(parent, st.S_IMODE(before.st_mode) | 0o700)
    try:
        for name in names:
            if st.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
                _remove_tree(parent, name)
            else:
                os.unlink(name, dir_fd=parent)
    finally:
        os.fchmod(parent, st.S_IMODE(before.st_mode))
        os.utime(parent, ns=(before.st_atime_ns, before.st_mtime_ns))


def _remove_tree(parent: int, name: str) -> None:
    """Remove a directory, also with directories in it that an earlier result has made read-only."""
    for _, _, _, descriptor in os.fwalk(name, dir_fd=parent, onerror=_raise):
        os.fchmod(descriptor, 0o700)
    shutil.rmtree(name, dir_fd=parent)


def _raise(error: OSError) -> None:
    raise error


class _PartFile:
    """A file that is being written under a temporary name. Owns its descriptors."""

    def __init__(self, parent: int, name: str) -> None:
        self.name = name
        self._temporary = f".kubectl-build.{secrets.token_hex(8)}.part"
        self._descriptor = os.open(self._temporary, _CREATE, 0o600, dir_fd=parent)
        self.parent = os.dup(parent)

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._descriptor, left) :]

    def commit(self, stat: Stat) -> None:
        _set_metadata(self._descriptor, stat)
        os.rename(self._temporary, self.name, src_dir_fd=self.parent, dst_dir_fd=self.parent)
        os.close(self._descriptor)
        os.close(self.parent)

    def discard(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._temporary, dir_fd=self.parent)
        os.close(self._descriptor)
        os.close(self.parent)


class EntryOrder:
    """Checks that entries are what an honest sender would list: clean relative paths, parents before children, names ascending, each once,
    hard links to files that came before (fsutil, validator.go and hardlinks.go)."""

    def __init__(self) -> None:
        self._parents: list[tuple[str, bytes]] = [("", b"")]  # open directories, each with the last name seen in it
        self._files: set[str] = set()

    def check(self, stat: Stat) -> None:
        """Take the next entry. Raises ProtocolError that quotes its path."""
        path = stat.path
        directory, _, name = path.rpartition("/")
        if not path or path.startswith("/") or "\0" in path or any(element in ("", ".", "..") for element in path.split("/")):
            raise ProtocolError(f"the builder sent an output with the path {_shown(path)}, which is refused")
        if len(path) > _LONGEST_PATH or path.count("/") >= _DEEPEST:
            raise ProtocolError(f"the builder sent an output with the path {_shown(path)}, which is too long or too deep for this machine")
        while len(self._parents) > 1 and self._parents[-1][0] != directory:
            self._parents.pop()
        parent, last = self._parents[-1]
        if parent != directory or os.fsencode(name) <= last:
            raise ProtocolError(f"the builder sent an output with the path {_shown(path)} out of its order, which is refused")
        self._parents[-1] = (parent, os.fsencode(name))
        if stat.is_dir:
            self._parents.append((path, b""))
        elif stat.mode & MODE_SYMLINK:
            if not stat.linkname or "\0" in stat.linkname:
                raise ProtocolError(f"the builder sent the symbolic link {_shown(path)} without a target, which is refused")
        elif not stat.linkname:
            self._files.add(path)
        elif stat.linkname not in self._files:
            raise ProtocolError(
                f"the builder sent {_shown(path)} as a link to {_shown(stat.linkname)}, which it had not sent; it is refused"
            )


def _shown(path: str) -> str:
    return repr(path if len(path) <= _LONGEST_SHOWN else f"{path[:_LONGEST_SHOWN]}...")


def _make_directory(parent: int, name: str) -> None:
    """Make a directory, or keep one that is there. It stays open to us until its own mode is set at the end."""
    try:
        mode = os.lstat(name, dir_fd=parent).st_mode
    except FileNotFoundError:
        mode = 0
    if mode and not st.S_ISDIR(mode):
        os.unlink(name, dir_fd=parent)
    if not st.S_ISDIR(mode):
        with contextlib.suppress(FileExistsError):  # made by the transfer of another platform
            os.mkdir(name, 0o700, dir_fd=parent)
    elif mode & 0o700 != 0o700:
        os.chmod(name, mode & 0o7777 | 0o700, dir_fd=parent)


def _make_special(parent: int, name: str, stat: Stat) -> None:
    if stat.mode & MODE_SYMLINK:
        os.symlink(stat.linkname, name, dir_fd=parent)
    elif stat.mode & MODE_FIFO:
        os.mkfifo(name, unix_permissions(stat.mode), dir_fd=parent)
    elif stat.mode & MODE_DEVICE:
        kind = st.S_IFCHR if stat.mode & MODE_CHAR_DEVICE else st.S_IFBLK
        os.mknod(name, kind | unix_permissions(stat.mode), os.makedev(stat.devmajor, stat.devminor), dir_fd=parent)
    else:
        raise ProtocolError(f"the builder sent {_shown(stat.path)} with the unknown mode {stat.mode:#o}")
    if not stat.mode & MODE_SYMLINK:
        os.chmod(name, unix_permissions(stat.mode), dir_fd=parent)
    os.utime(name, ns=(stat.mod_time, stat.mod_time), dir_fd=parent, follow_symlinks=False)


def _set_metadata(descriptor: int, stat: Stat) -> None:
    if stat.xattrs and hasattr(os, "setxattr"):
        for name, value in stat.xattrs.items():
            with contextlib.suppress(OSError, ValueError):  # most names are for root alone, or for other file systems
                os.setxattr(descriptor, name, value)
    os.fchmod(descriptor, unix_permissions(stat.mode))
    os.utime(descriptor, ns=(stat.mod_time, stat.mod_time))


def _failed(path: str, exc: OSError) -> UsageError:
    return UsageError(f'output "{path}" cannot be written: {system_words(exc)}')
