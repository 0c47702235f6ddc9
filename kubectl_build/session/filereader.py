"""Reads the files of a context that the daemon asks for, and notices those that are no longer what was announced."""

from __future__ import annotations

import errno
import functools
import operator
import os
from array import array
from collections import deque
from collections.abc import Callable
from typing import Final

from kubectl_build.errors import ContextChanged, UsageError, system_words
from kubectl_build.fsutil import packets
from kubectl_build.fsutil.stat import Stat, go_time
from kubectl_build.fsutil.walk import BY_DESCRIPTOR, DIRECTORY
from kubectl_build.session.rpc import INVALID_ARGUMENT, RpcError

CHUNK: Final = 1 << 20
"""File bytes in one packet. The daemon takes messages of up to 16 MiB, and answers each with a few small ones."""

_BATCH: Final = CHUNK
_OF_SOME_SYSTEMS: Final = ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
"""Without the last one Windows would change the ends of lines."""
_FLAGS: Final = functools.reduce(operator.or_, (getattr(os, name, 0) for name in _OF_SOME_SYSTEMS), os.O_RDONLY)
_NOT_A_FILE: Final = -1
_AROUND: Final = 14
"""Bytes that the packets of a small file have beside its contents, roughly."""


class FileReader:
    """The announced entries by number, and the queue of those that were asked for.

    `add` and `read` are for threads; at most one of each runs at a time. `request` is for the event loop.
    """

    def __init__(self, root: str, pack: Callable[..., list[bytes]]) -> None:
        """`pack` makes a message, with its prefix, of its parts (ServerStream.pack)."""
        self._root = root
        self._pack = pack
        self._paths: list[str] = []
        self._sizes = array("q")  # three columns in place of an object for each of perhaps 200,000 files
        self._times = array("q")
        self._queue: deque[tuple[int, str]] = deque()
        self._file: _OpenFile | None = None
        self._folder = ""
        self._descriptor: int | None = None  # of the directory `_folder`, which the next file is mostly in, too
        self._last = -1
        self._requested = 0
        self._decided = 0
        self._undecided: int | None = None
        self.files_sent = 0
        self.bytes_sent = 0

    def add(self, stat: Stat) -> None:
        """Give the next number to an entry that is announced."""
        has_data = stat.has_data
        self._paths.append(stat.path if has_data else "")
        self._sizes.append(stat.size if has_data else _NOT_A_FILE)
        self._times.append(stat.mod_time)

    def request(self, file_id: int) -> None:
        """Queue a file. Raises RpcError for a number that stands for no file or was asked for before."""
        if file_id >= len(self._paths) or not self._paths[file_id]:
            raise RpcError(INVALID_ARGUMENT, f"invalid file id {file_id}")
        self._queue.append((file_id, self._paths[file_id]))
        self._paths[file_id] = ""
        self._requested += self._sizes[file_id] + _AROUND
        self._last = max(self._last, file_id)

    def expected(self) -> int:
        """The bytes of packets that all files will take at most, once all entries were added: those of the files that were asked for, and
        of all behind the last one of these. A daemon compares entry by entry, and so asks for files about in their order."""
        if self._undecided is None:
            self._undecided = _weight(self._sizes)
        self._undecided -= _weight(self._sizes[self._decided : self._last + 1])
        self._decided = self._last + 1
        return self._requested + self._undecided

    @property
    def idle(self) -> bool:
        """Nothing is queued and nothing half sent."""
        return self._file is None and not self._queue

    def read(self) -> bytes:
        """Return some packets of what is queued, with their prefixes; b"" for none. Blocking.

        Raises ContextChanged or UsageError that names the file.
        """
        parts: list[bytes] = []
        size = 0
        while size < _BATCH:
            if self._file is None:
                if not self._queue:
                    break
                self._file = self._open(*self._queue.popleft())
            data = self._file.read()
            head = packets.encode_data_head(self._file.id, len(data))
            packed = self._pack(head, data)
            parts += packed
            size += sum(map(len, packed))
            self.bytes_sent += len(data)
            if not data:
                self._file.close()
                self._file = None
                self.files_sent += 1
        return b"".join(parts)

    def close(self) -> None:
        """Close what is open. Not while a `read` is in progress."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._close_folder()

    def _close_folder(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self, file_id: int, path: str) -> _OpenFile:
        full = f"{self._root}/{path}"
        place: tuple[str, int | None] = (full, None)
        if BY_DESCRIPTOR:
            folder, _, name = path.rpartition("/")
            try:
                place = name, self._enter(folder)
            except OSError as exc:
                raise _not_opened(full, exc) from exc
        return _OpenFile(file_id, full, place, self._sizes[file_id], self._times[file_id])

    def _enter(self, folder: str) -> int:
        """Open a directory below the root, element by element, and follow nothing: a link may be in the place of what was announced."""
        if self._descriptor is None or folder != self._folder:
            self._close_folder()
            current = os.open(self._root, DIRECTORY & ~getattr(os, "O_NOFOLLOW", 0))
            for element in folder.split("/") if folder else ():
                try:
                    inner = os.open(element, DIRECTORY, dir_fd=current)
                finally:
                    os.close(current)
                current = inner
            self._folder, self._descriptor = folder, current
        return self._descriptor


def _weight(sizes: array[int]) -> int:
    others = sizes.count(_NOT_A_FILE)
    return sum(sizes) - others * _NOT_A_FILE + (len(sizes) - others) * _AROUND


class _OpenFile:
    """One file while it is sent. It must have the announced size and time when it is opened, and still have them when it has been read."""

    def __init__(self, file_id: int, path: str, place: tuple[str, int | None], size: int, mod_time: int) -> None:
        """`path` is what messages call it, `place` where it is: a name and the descriptor of its directory."""
        self.id = file_id
        self._path = path
        self._left = size
        self._announced = (size, mod_time)
        self._descriptor: int | None = None
        try:
            self._descriptor = os.open(place[0], _FLAGS, dir_fd=place[1])
        except OSError as exc:
            if exc.errno == errno.ENXIO:  # a socket, which is sent as an empty file
                return
            raise _not_opened(path, exc) from exc
        if 0 < size <= CHUNK:
            return  # read in one piece and looked at behind it, which also notices what was changed before
        try:
            self._check(self._descriptor)
        except BaseException:
            self.close()
            raise

    def read(self) -> bytes:
        """Return the next CHUNK, b"" at the end."""
        if self._descriptor is None or not self._left:
            return b""
        try:
            data = os.read(self._descriptor, min(CHUNK, self._left))
        except OSError as exc:
            raise _unreadable(self._path, exc) from exc
        self._left -= len(data)
        if not data or not self._left:
            self._check(self._descriptor)
        if not data:
            raise _changed(self._path, "became shorter")
        return data

    def _check(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        if (status.st_size, go_time(status.st_mtime_ns)) != self._announced:
            raise _changed(self._path, "changed")

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _not_opened(path: str, exc: OSError) -> ContextChanged | UsageError:
    if exc.errno in (errno.ENOENT, errno.ENOTDIR):
        return _changed(path, "was removed")
    if exc.errno == errno.ELOOP:
        return _changed(path, "became a symbolic link")
    return _unreadable(path, exc)


def _changed(path: str, how: str) -> ContextChanged:
    return ContextChanged(
        f'"{path}" {how} while the context was sent to the builder',
        hint="run the build again when nothing writes to the context, or exclude the file in .dockerignore",
    )


def _unreadable(path: str, exc: OSError) -> UsageError:
    return UsageError(
        f'"{path}" cannot be read: {system_words(exc)}',
        hint="change its permissions or exclude it in .dockerignore",
    )
