"""File trees and the image layers made of them, the same bytes each time.

Entries are sorted, times are zero, owners are numbers without names, and gzip headers carry neither time nor name, so that a layer's
digest depends on nothing but what is in it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import struct
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

_GZIP_LEVEL = 1  # these layers travel over loopback only; a better ratio would cost more time than it saves


@dataclass(frozen=True, slots=True)
class Layer:
    """A gzip-compressed tar in a blob directory: digests as `sha256:<hex>`, size in bytes of the compressed form."""

    digest: str
    diff_id: str
    size: int


@dataclass(frozen=True, slots=True)
class _Entry:
    info: tarfile.TarInfo
    source: bytes | Path | None = None


@dataclass(slots=True)
class Tree:
    """The files of one layer, by absolute path inside the image. Parents are added by themselves with mode 0755, owner root."""

    _entries: dict[str, _Entry] = field(default_factory=dict)

    def directory(self, path: str, *, mode: int = 0o755, owner: int = 0) -> None:
        """Add a directory, or give one that is there another mode and owner (uid and gid alike)."""
        self._add(path, tarfile.DIRTYPE, mode, owner)

    def file(self, path: str, content: bytes | str | Path, *, mode: int = 0o644, owner: int = 0, capability: int | None = None) -> None:
        """Add a regular file; a Path is read only when the layer is written and must then still be there.

        Whoever executes it gets the `capability` of that number (linux/capability.h).
        """
        source = content.encode() if isinstance(content, str) else content
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        self._add(path, tarfile.REGTYPE, mode, owner, source=source, size=size)
        if capability is not None:
            info = self._entries[str(PurePosixPath(path).relative_to("/"))].info
            info.pax_headers = {"SCHILY.xattr.security.capability": _capabilities(capability)}

    def symlink(self, path: str, target: str) -> None:
        self._add(path, tarfile.SYMTYPE, 0o777, 0, target=target)

    def copy(self, source: Path, path: str, *, leave_out: Sequence[str] = ()) -> None:
        """Add a directory of this machine with all in it, owned by root.

        `leave_out` has names of directories and of files (an entry that starts with `*` is a suffix) that are skipped at any depth.
        Symbolic links stay links. Anything else than files, directories and links is skipped.
        """
        names = frozenset(name for name in leave_out if not name.startswith("*"))
        suffixes = tuple(name[1:] for name in leave_out if name.startswith("*"))

        def wanted(name: str) -> bool:
            return name not in names and not (suffixes and name.endswith(suffixes))

        for folder, folders, files in os.walk(source):
            folders[:] = sorted(name for name in folders if wanted(name))
            inside = PurePosixPath(path, Path(folder).relative_to(source).as_posix())
            self.directory(str(inside))
            for name in filter(wanted, sorted(files + [name for name in folders if Path(folder, name).is_symlink()])):
                here = Path(folder, name)
                if here.is_symlink():
                    self.symlink(str(inside / name), os.readlink(here))
                elif here.is_file():
                    self.file(str(inside / name), here, mode=0o755 if here.stat().st_mode & 0o111 else 0o644)

    def write(self, blobs: Path) -> Layer:
        """Write the layer into the directory `blobs` under the hex part of its digest and say what it is."""
        unfinished = blobs / f".layer-{id(self)}"
        with unfinished.open("wb") as raw:
            packed = _Hashing(raw)
            with gzip.GzipFile(filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=cast("BinaryIO", packed), mtime=0) as compressor:
                plain = _Hashing(cast("BinaryIO", compressor))
                with tarfile.open(fileobj=cast("BinaryIO", plain), mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20) as archive:
                    self.pack(archive)
        unfinished.rename(blobs / packed.digest.hexdigest())
        return Layer(f"sha256:{packed.digest.hexdigest()}", f"sha256:{plain.digest.hexdigest()}", packed.size)

    def pack(self, archive: tarfile.TarFile) -> None:
        """Add all entries to a tar, each directory before what is in it."""
        for _, entry in sorted(self._entries.items()):
            if isinstance(entry.source, Path):
                with entry.source.open("rb") as content:
                    archive.addfile(entry.info, content)
            else:
                archive.addfile(entry.info, None if entry.source is None else io.BytesIO(entry.source))

    def _add(
        self, path: str, kind: bytes, mode: int, owner: int, *, target: str = "", source: bytes | Path | None = None, size: int = 0
    ) -> None:
        place = PurePosixPath(path).relative_to("/")
        if place == PurePosixPath():
            return
        for parent in place.parents:
            if parent != PurePosixPath() and str(parent) not in self._entries:
                self._add(f"/{parent}", tarfile.DIRTYPE, 0o755, 0)
        info = tarfile.TarInfo(str(place))
        info.type, info.mode, info.uid, info.gid, info.linkname, info.size = kind, mode, owner, owner, target, size
        self._entries[str(place)] = _Entry(info, source)


def _capabilities(number: int) -> str:
    """The value of the attribute security.capability (struct vfs_cap_data, version 2): one that is permitted, and effective."""
    data = struct.pack("<5I", 0x02000001, 1 << number, 0, 0, 0)
    return data.decode("utf-8", "surrogateescape")  # as tarfile wants bytes that are no text


@dataclass(slots=True)
class _Hashing:
    """A write-only file that hashes and counts what passes through."""

    target: BinaryIO
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    size: int = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self.target.write(data)

    def flush(self) -> None:
        self.target.flush()
