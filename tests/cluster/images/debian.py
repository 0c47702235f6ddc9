"""Files of Debian packages, of other architectures too, without touching this machine's dpkg and apt.

apt runs with its own state and cache directory and an empty dpkg status, so `dpkg --add-architecture` is not needed; where the packages
come from is what this machine's own apt says.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

ARCHITECTURES = ("amd64", "i386", "armel", "armhf", "arm64", "ppc64el", "s390x")


class DebianError(Exception):
    """apt or dpkg-deb failed; the text has the command and the end of what it said."""


class Debian:
    """Packages fetched into `directory` (made when missing) and unpacked there. Threads may share one; the index is fetched once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._updated = False

    def unpack(self, package: str) -> Path:
        """Give the directory with the files of a package, written `name:architecture`; fetched only when it is not there yet."""
        target = self._directory / "files" / package.replace(":", "_")
        with self._lock:
            if not target.exists():
                archive = self._fetch(package)
                unfinished = target.with_name(f"{target.name}.unfinished")
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.parent.mkdir(parents=True, exist_ok=True)
                _run(["dpkg-deb", "--extract", str(archive), str(unfinished)])
                archive.unlink()
                unfinished.rename(target)
        return target

    def _fetch(self, package: str) -> Path:
        if not self._updated:
            # One index of many that cannot be had (a mirror in the middle of its own update) need not be the one that matters:
            # the download says whether it was.
            with contextlib.suppress(DebianError):
                self._apt("update")
            self._updated = True
        downloads = self._directory / "downloads"
        shutil.rmtree(downloads, ignore_errors=True)
        downloads.mkdir(parents=True)
        self._apt("download", package, folder=downloads)
        archives = list(downloads.glob("*.deb"))
        if len(archives) != 1:
            raise DebianError(f"apt-get download {package} left {len(archives)} packages, not one")
        return archives[0]

    def _apt(self, *arguments: str, folder: Path | None = None) -> None:
        state, cache = self._directory / "state", self._directory / "cache"
        (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (cache / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        (state / "status").touch()
        options = {
            "Dir::State": str(state),
            "Dir::State::status": str(state / "status"),
            "Dir::Cache": str(cache),
            "APT::Architectures": ",".join(ARCHITECTURES),
            "APT::Sandbox::User": "root",  # the cache may be where the user _apt cannot go
            "Acquire::Languages": "none",
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled": "false",
        }
        _run(["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items()), *arguments], folder=folder)


def _run(command: Sequence[str], *, folder: Path | None = None) -> None:
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise DebianError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-500:]}")
