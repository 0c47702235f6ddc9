"""OCI image archives: a layout in a tar, read and written as containerd's exporter writes it (core/images/archive/exporter.go).

Blobs are read where they lie in the file, so that an archive of any size takes little memory. Everything here blocks.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from kubectl_build.errors import ProtocolError
from kubectl_build.layout.index import INDEX_FILE, LAYOUT, LAYOUT_FILE
from kubectl_build.layout.store import CHUNK, unreadable
from kubectl_build.model.digest import is_digest
from kubectl_build.model.json import JsonObject, parse_json
from kubectl_build.values import dataclass

END: Final = bytes(2 * tarfile.BLOCKSIZE)
"""What ends a tar."""

_DOCUMENT_LIMIT: Final = 64 << 20
_DEVICES: Final = slice(329, 345)
_CHECKSUM: Final = slice(148, 156)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A blob to be written: its size in bytes, and what gives its bytes in pieces."""

    size: int
    chunks: Callable[[], Iterable[bytes]]


class ArchiveReader:
    """An OCI archive in a file that stays as it is. `blobs` has the blobs by their digests, `entries` the descriptors of index.json."""

    def __init__(self, path: Path) -> None:
        """Read the table of contents. Raises ProtocolError for what is no such archive, UsageError when the file cannot be read."""
        self._path = path
        self._places: dict[str, tuple[int, int]] = {}
        index: tuple[int, int] | None = None
        try:
            for member, _ in members(path):
                directory, _, name = member.name.rpartition("/")
                digest = f"{directory.removeprefix('blobs/')}:{name}"
                if member.isreg() and directory.startswith("blobs/") and is_digest(digest):
                    self._places[digest] = (member.offset_data, member.size)
                elif member.isreg() and member.name == INDEX_FILE:
                    index = (member.offset_data, member.size)
        except OSError as exc:
            raise unreadable(path, exc) from exc
        self.blobs: Mapping[str, Blob] = {digest: self._blob(digest, size) for digest, (_, size) in self._places.items()}
        self.entries = self._entries(index)

    def document(self, digest: str) -> bytes:
        """The bytes of a manifest or index. Raises ProtocolError where the archive does not have it, or another size of it than is sane."""
        blob = self.blobs.get(digest)
        if blob is None or blob.size > _DOCUMENT_LIMIT:
            raise ProtocolError(f"the builder's archive does not have the manifest {digest}")
        return b"".join(blob.chunks())

    def _entries(self, place: tuple[int, int] | None) -> list[JsonObject]:
        try:
            if place is None or place[1] > _DOCUMENT_LIMIT:
                raise ValueError(f"no {INDEX_FILE}")
            entries = parse_json(b"".join(self._read(*place)))["manifests"]
            if not entries or not all(is_digest(entry["digest"]) for entry in entries):
                raise ValueError("no image")
        except (ValueError, KeyError, TypeError) as exc:
            raise ProtocolError(f"the builder sent no OCI archive: {exc}") from exc
        return list(entries)

    def _blob(self, digest: str, size: int) -> Blob:
        return Blob(size=size, chunks=lambda: self._checked(digest))

    def _checked(self, digest: str) -> Iterator[bytes]:
        """The bytes of a blob. Raises ProtocolError after the last when they are not those of `digest`."""
        algorithm, _, encoded = digest.partition(":")
        found = hashlib.new(algorithm)
        for chunk in self._read(*self._places[digest]):
            found.update(chunk)
            yield chunk
        if found.hexdigest() != encoded:
            raise ProtocolError(f"the builder sent other bytes than those of {digest}")

    def _read(self, offset: int, size: int) -> Iterator[bytes]:
        try:
            with self._path.open("rb", buffering=0) as file:
                yield from read_range(file.fileno(), offset, size)
        except OSError as exc:
            raise unreadable(self._path, exc) from exc


def archive(index: bytes, blobs: Mapping[str, Blob]) -> Iterator[bytes]:
    """The bytes of an archive with `index` as its index.json: names in order, no owners, no times."""
    algorithms = {digest.partition(":")[0] for digest in blobs}
    directories = ["blobs/", *(f"blobs/{algorithm}/" for algorithm in algorithms)] if algorithms else []
    names = {f"blobs/{digest.replace(':', '/')}": blob for digest, blob in blobs.items()}
    for name in sorted([*directories, *names]):
        if name in names:
            yield _header(name, names[name].size, 0o444)
            yield from names[name].chunks()
            yield _padding(names[name].size)
        else:
            yield _header(name, 0, 0o755, tarfile.DIRTYPE)
    for name, data, mode in ((INDEX_FILE, index, 0o644), (LAYOUT_FILE, LAYOUT, 0o444)):
        yield _header(name, len(data), mode) + data + _padding(len(data))
    yield END


def members(path: Path) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """The members of the tar `path` in their order, each with the offset of its end. Raises ProtocolError for what is no tar, OSError."""
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            size = os.fstat(file.fileno()).st_size
            reached = 0
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # tarfile would remember them all
                if tar.offset <= reached or member.size < 0:  # a size that leads back would be read for ever
                    raise ProtocolError("the builder sent an archive with sizes that cannot be")
                reached = tar.offset
                if tar.offset > size:
                    raise ProtocolError("the builder sent an archive that is cut short")
                yield member, tar.offset
    except (tarfile.TarError, ValueError, OverflowError, IndexError) as exc:  # tarfile lets what int() and the like raise pass
        raise ProtocolError(f"the builder sent what is not a tar archive: {str(exc).lower()}") from exc


def read_range(descriptor: int, offset: int, size: int) -> Iterator[bytes]:
    """`size` bytes of an open file from `offset` on, in pieces. Raises ProtocolError when there are fewer, OSError."""
    while size:
        chunk = _read_at(descriptor, min(size, CHUNK), offset)
        if not chunk:
            raise ProtocolError("the builder sent an archive that is cut short")
        yield chunk
        offset += len(chunk)
        size -= len(chunk)


def _read_at(descriptor: int, size: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)  # Windows; nobody else reads at the same time
    return os.read(descriptor, size)


def _header(name: str, size: int, mode: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header as Go writes it: unlike tarfile it fills in the numbers of a device for everything."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.type = size, mode, kind
    raw = info.tobuf(tarfile.PAX_FORMAT)
    block = bytearray(raw[-tarfile.BLOCKSIZE :])
    block[_DEVICES] = b"0000000\0" * 2
    block[_CHECKSUM] = b" " * 8
    block[_CHECKSUM] = b"%06o\0 " % sum(block)
    return raw[: -tarfile.BLOCKSIZE] + bytes(block)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
