"""Files of Debian packages of several architectures, without touching this machine's dpkg and apt.

apt runs with its own state and cache directory and an empty dpkg status, so `dpkg --add-architecture` is not needed; where the packages
come from is what this machine's own apt says.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.cluster import cache
from tests.cluster.say import Trouble, say

ARCHITECTURES = ("amd64", "i386", "armel", "armhf", "arm64", "ppc64el", "s390x")
_PACKAGES = (*(f"busybox-static:{architecture}" for architecture in ARCHITECTURES), "ca-certificates:all")
_PATIENCE_S = 300


def fetch() -> Path:
    """Return the directory that has each package's files under `<name>_<architecture>`; fetched when it is not in the cache."""
    return cache.ensure("images", f"packages-{cache.key([*_PACKAGES, Path(__file__)])}", _make)


def _make(target: Path) -> None:
    if not all(shutil.which(tool) for tool in ("apt-get", "dpkg-deb")):
        raise Trouble("apt-get or dpkg-deb is missing: the mirror's images are made of Debian's busybox, so this needs Debian or Ubuntu")
    say("fetching Debian's busybox for seven architectures")
    private = target / ".apt"
    downloads = private / "downloads"
    downloads.mkdir(parents=True)
    apt = _apt(private)
    # An index that cannot be had (a mirror in the middle of its own update, somebody's broken third source) need not be the one that
    # matters: the download says whether it was.
    subprocess.run([*apt, "update"], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_PATIENCE_S)
    _run([*apt, "download", *_PACKAGES], downloads)
    for archive in sorted(downloads.glob("*.deb")):
        name, _, architecture = archive.stem.split("_")
        _run(["dpkg-deb", "--extract", str(archive), str(target / f"{name}_{architecture}")], target)
    shutil.rmtree(private)


def _apt(private: Path) -> list[str]:
    """Give the words of an apt-get that keeps everything it writes under `private`."""
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (private / folder).mkdir(parents=True)
    (private / "state" / "status").touch()
    options = {
        "Dir::State": f"{private}/state",
        "Dir::State::status": f"{private}/state/status",
        "Dir::Cache": f"{private}/cache",
        "APT::Architectures": ",".join(ARCHITECTURES),
        "Acquire::Languages": "none",
    }
    if os.geteuid() == 0:
        options["APT::Sandbox::User"] = "root"  # the cache may be where the user _apt cannot go
    return ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-500:]
        raise Trouble(f"{command[0]} ... {' '.join(command[-len(_PACKAGES) :])} failed: {said}")
