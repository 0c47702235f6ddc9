"""tar.gz and zip archives that depend on nothing but the files in them."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

_EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", "315532800"))
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def write_archive(directory: Path, target: Path) -> Path:
    """Pack what is in `directory` into `target`, a .tar.gz or .zip, and return it. Symbolic links become files: krew unpacks none."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    names = [(str(path.relative_to(directory).as_posix()), path) for path in files]
    (_write_zip if target.suffix == ".zip" else _write_tar)(names, target)
    return target


def sha256(path: Path) -> str:
    """The digest of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mode(path: Path) -> int:
    return 0o755 if path.stat().st_mode & 0o100 else 0o644


def _write_tar(names: list[tuple[str, Path]], target: Path) -> None:
    with (
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=_EPOCH) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, path in names:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = path.stat().st_size, _mode(path), _EPOCH
            with path.open("rb") as file:
                archive.addfile(entry, file)


def _write_zip(names: list[tuple[str, Path]], target: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in names:
            entry = zipfile.ZipInfo(name, _ZIP_DATE)
            entry.external_attr = (0o100000 | _mode(path)) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            with path.open("rb") as file, archive.open(entry, "w") as packed:
                shutil.copyfileobj(file, packed)


def python_program(main: str) -> bytes:
    """A zip archive that Python runs: `main` is the text of its __main__.py."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py", _ZIP_DATE), main)
    return buffer.getvalue()
