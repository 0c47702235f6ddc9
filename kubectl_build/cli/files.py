"""The files that a build leaves for other programs: --iidfile and --metadata-file."""

from __future__ import annotations

import locale
import os
from pathlib import Path

from kubectl_build.errors import UsageError, system_words


def check_result_file(flag: str, path: Path) -> None:
    """Raise UsageError for a file that cannot be written in the end."""
    directory = path.absolute().parent
    usable = os.access(path, os.W_OK) if _in_place(path) else directory.is_dir() and os.access(directory, os.W_OK)
    if path.is_dir() or not usable:
        raise UsageError(f'{flag} "{path}" cannot be written: its directory is missing or read-only, or it is a directory itself')


def forget_result(path: Path) -> None:
    """Remove what an earlier build has left. Raises UsageError."""
    if _in_place(path):
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f'"{path}" cannot be removed: {system_words(error)}') from error


def write_result(path: Path, text: str) -> None:
    """As `write_result_bytes`, in this system's encoding."""
    write_result_bytes(path, text.encode(locale.getencoding()))


def write_result_bytes(path: Path, data: bytes) -> None:
    """Write a whole file or none: a reader never sees half of it. Raises UsageError."""
    try:
        if _in_place(path):
            path.write_bytes(data)
            return
        temporary = path.with_name(f".{path.name[:200]}.{os.getpid()}")
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f'"{path}" cannot be written: {system_words(error)}') from error


def _in_place(path: Path) -> bool:
    """Whether this is a pipe or device, or a name for an open file such as /dev/stdout: removing it would break it for everybody."""
    return str(path.absolute()).startswith(("/dev/", "/proc/")) or (path.exists() and not path.is_file())
