"""The blobs of an OCI layout directory (image-spec, image-layout.md): blobs/<algorithm>/<hexadecimal>.

What is being written lies in ingest/, where containerd's stores have it too, and is renamed into its place when its digest is right.
Several threads and processes may write to one directory, also the same blob. Everything here blocks.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from kubectl_build.errors import ProtocolError, UsageError, system_words
from kubectl_build.model.digest import is_digest
from kubectl_build.values import dataclass

CHUNK: Final = 1 << 20
"""Bytes that are read or written at a time."""

_TRIES = 8
"""How often the directory for parts is made anew when others, who have just finished, remove it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobInfo:
    """A blob that is there. `modified` is in seconds since 1970; `size` in bytes."""

    digest: str
    size: int
    modified: float


class LayoutStore:
    """The blobs below `path`, which need not exist. Digests that come from others are to be checked with `is_digest` before."""

    def __init__(self, path: str | Path, *, read_only: bool = False) -> None:
        self.path = Path(path)
        self.read_only = read_only

    def info(self, digest: str) -> BlobInfo | None:
        """Look for a blob. Raises UsageError when the directory cannot be read."""
        try:
            status = os.stat(self.blob_path(digest))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            raise unreadable(self.path, exc) from exc
        return BlobInfo(digest=digest, size=status.st_size, modified=status.st_mtime) if stat.S_ISREG(status.st_mode) else None

    def read(self, digest: str, offset: int, size: int) -> bytes:
        """Read at most `size` bytes of a blob from `offset` on. Raises UsageError."""
        try:
            with self.blob_path(digest).open("rb") as blob:
                blob.seek(offset)
                return blob.read(size)
        except OSError as exc:
            raise unreadable(self.blob_path(digest), exc) from exc

    def blobs(self) -> Iterator[BlobInfo]:
        """Every blob. What lies there and is no blob is passed over. Raises UsageError."""
        root = self.path / "blobs"
        try:
            names = [f"{algorithm.name}:{blob.name}" for algorithm in root.iterdir() if algorithm.is_dir() for blob in algorithm.iterdir()]
        except FileNotFoundError:
            return
        except OSError as exc:
            raise unreadable(root, exc) from exc
        for name in filter(is_digest, names):
            if found := self.info(name):
                yield found

    def delete(self, digest: str) -> None:
        """Remove a blob; it may be gone already. Raises UsageError."""
        try:
            self.blob_path(digest).unlink(missing_ok=True)
        except OSError as exc:
            raise unwritable(self.blob_path(digest), exc) from exc

    def touch(self, digest: str) -> None:
        """Let a blob count as new, so that whoever removes old ones keeps it."""
        with contextlib.suppress(OSError):  # another user's: then it is not ours to keep or remove
            os.utime(self.blob_path(digest))

    def writer(self, expected: str = "") -> BlobWriter:
        """A writer for a blob, which has the digest `expected` where that is known. To be closed by the caller."""
        return BlobWriter(self, expected)

    def blob_path(self, digest: str) -> Path:
        """Where a blob is or would be. Raises ValueError for what is no digest: it could lead anywhere."""
        if not is_digest(digest):
            raise ValueError(f"{digest!r} is not a digest")
        algorithm, _, encoded = digest.partition(":")
        return self.path / "blobs" / algorithm / encoded


class BlobWriter:
    """A blob that is being written. `close` removes what was not committed, and may be called at any time. `offset` bytes have come.

    Nothing is done before `open`, so that a writer can be made where a task may be cancelled and closed whatever has become of it.
    """

    def __init__(self, store: LayoutStore, expected: str) -> None:
        self._store = store
        self.expected = expected
        self._algorithm = expected.partition(":")[0] or "sha256"
        self._hash = hashlib.new(self._algorithm)
        self.offset = 0
        self.started = self.updated = time.time()
        self._part = store.path / "ingest" / secrets.token_hex(16)
        self._opened: BinaryIO | None = None

    def open(self) -> None:
        """Make the file. Raises UsageError."""
        try:
            self._opened = _create(self._part)
        except OSError as exc:
            raise unwritable(self._store.path, exc) from exc

    @property
    def _file(self) -> BinaryIO:
        assert self._opened is not None
        return self._opened

    @property
    def digest(self) -> str:
        """The digest of what has been written so far."""
        return f"{self._algorithm}:{self._hash.hexdigest()}"

    def write(self, data: bytes) -> None:
        """Append. Raises UsageError."""
        try:
            self._file.write(data)
        except OSError as exc:
            raise unwritable(self._store.path, exc) from exc
        self._hash.update(data)
        self.offset += len(data)
        self.updated = time.time()

    def restart(self) -> None:
        """Forget what was written. Raises UsageError."""
        try:
            self._file.seek(0)
            self._file.truncate()
        except OSError as exc:
            raise unwritable(self._store.path, exc) from exc
        self._hash = hashlib.new(self._algorithm)
        self.offset = 0

    def commit(self, size: int = 0, expected: str = "") -> bool:
        """Put the blob in its place, and tell whether it was not there before.

        Raises ProtocolError where it has not `size` bytes (0: any) or not the digest `expected` (empty: any), UsageError.
        """
        digest = self.digest
        if size and size != self.offset:
            raise ProtocolError(f"the builder sent {self.offset} bytes of a blob that has {size}")
        if expected and expected != digest:
            raise ProtocolError(f"the builder sent a blob with the digest {digest} as {expected}")
        target = self._store.blob_path(digest)
        found = self._store.info(digest)
        if found is not None and found.size == self.offset:
            self._store.touch(digest)
            return False
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            mode = stat.S_IMODE(os.fstat(self._file.fileno()).st_mode)
            self._file.close()  # Windows renames no file that is open
            os.chmod(self._part, mode & 0o444)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._part, target)
        except OSError as exc:
            raise unwritable(self._store.path, exc) from exc
        return True

    def close(self) -> None:
        """Release the file, and remove it when it was not committed."""
        if self._opened is None:
            return
        with contextlib.suppress(OSError):  # what was buffered for a file that is to be removed
            self._opened.close()
        self._part.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others are still writing
            self._part.parent.rmdir()


def check_place(path: Path) -> None:
    """See that a directory is at `path` or could be made there. Makes none, so that a build that fails leaves none. Raises OSError."""
    wanted = place = os.path.realpath(path)
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    if not os.path.isdir(place):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), place)
    if place != wanted and not os.access(place, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), place)


def unreadable(path: Path, exc: OSError) -> UsageError:
    """Say in words that `path` cannot be read."""
    return UsageError(f'"{path}" cannot be read: {system_words(exc)}')


def unwritable(path: Path, exc: OSError) -> UsageError:
    """Say in words that `path` cannot be written."""
    return UsageError(f'"{path}" cannot be written: {system_words(exc)}')


def _create(part: Path) -> BinaryIO:
    for attempt in range(1, _TRIES + 1):
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            return part.open("xb")
        except FileNotFoundError:
            if attempt == _TRIES:
                raise
    raise AssertionError("the last try returns or raises")
