"""setuptools' build backend, with results that depend on nothing but the sources.

Times are SOURCE_DATE_EPOCH, or where that is not set the first that an archive can hold; modes and owners are not this machine's.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

_EARLIEST = "315532800"
"""1980-01-01, in UTC: zip knows none before."""

Settings = dict[str, Any] | None


def build_wheel(directory: str, settings: Settings = None, metadata: str | None = None) -> str:
    """Build the wheel into `directory` and return its name (PEP 517)."""
    os.environ.setdefault("SOURCE_DATE_EPOCH", _EARLIEST)
    name: str = build_meta.build_wheel(directory, settings, metadata)
    _level_zip(Path(directory, name))
    return name


def build_sdist(directory: str, settings: Settings = None) -> str:
    """Build the source archive into `directory` and return its name (PEP 517)."""
    os.environ.setdefault("SOURCE_DATE_EPOCH", _EARLIEST)
    name: str = build_meta.build_sdist(directory, settings)
    _level_tar(Path(directory, name), int(os.environ["SOURCE_DATE_EPOCH"]))
    return name


def _level_zip(path: Path) -> None:
    """Write a wheel anew, with the modes that any umask gives. Its times are right already, its order is that of its contents."""
    with zipfile.ZipFile(path) as archive:
        entries = [(entry, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in entries:
            level = zipfile.ZipInfo(entry.filename, entry.date_time)
            level.external_attr = (0o100755 if entry.external_attr >> 16 & 0o100 else 0o100644) << 16
            archive.writestr(level, data, zipfile.ZIP_DEFLATED)


def _level_tar(path: Path, moment: int) -> None:
    with tarfile.open(path) as archive:
        entries = [(member, archive.extractfile(member)) for member in archive.getmembers()]
        data = [(member, file.read() if file else b"") for member, file in entries]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member, content in sorted(data, key=lambda item: item[0].name):
            level = tarfile.TarInfo(member.name)
            level.type, level.linkname, level.size, level.mtime = member.type, member.linkname, member.size, moment
            level.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            archive.addfile(level, io.BytesIO(content))
    path.write_bytes(gzip.compress(buffer.getvalue(), mtime=moment))
