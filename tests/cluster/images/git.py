"""Debian's git for the BuildKit image: the daemon runs it to fetch git contexts, as it does in the official image.

It is linked dynamically, so its libraries and the loader come with it. Of what git depends on only libraries are taken: perl is for
commands that a fetch does not use, and the shell is busybox.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.cluster import cache, debian
from tests.cluster.images.layers import Tree
from tests.cluster.say import Trouble, say

_LOADER = Path("lib64/ld-linux-x86-64.so.2")
_LIBRARIES = "usr/lib/x86_64-linux-gnu"
"""Where the loader looks without being told."""
_PROGRAMS = ("git", "git-remote-http", "git-submodule", "git-sh-setup", "git-sh-i18n", "git-sh-i18n--envsubst")
_CORE = Path("usr/lib/git-core")
_PATIENCE_S = 300


def fetch() -> Path:
    """Return a directory with git and all libraries that it depends on, unpacked; fetched when it is not in the cache. Raises Trouble."""

    def make(directory: Path) -> None:
        if not debian.available():
            raise Trouble("apt-get or dpkg is missing: the BuildKit image has Debian's git, so this needs Debian or Ubuntu")
        say("fetching Debian's git")
        debian.fetch(_closure(directory), directory)

    return cache.ensure("images", f"git-{cache.key([Path(__file__)])}", make)


def layer() -> Tree:
    """The tree with git at /usr/bin/git, its helpers, and the libraries of both."""
    unpacked = fetch()
    tree = Tree()
    for program in _PROGRAMS:
        tree.file(f"/{_CORE}/{program}", unpacked / _CORE / program, mode=0o755)
    tree.symlink("/usr/bin/git", "../lib/git-core/git")
    tree.symlink(f"/{_CORE}/git-remote-https", "git-remote-http")
    tree.copy(unpacked / "usr/share/git-core", "/usr/share/git-core")
    tree.file(f"/{_LOADER}", unpacked / _LOADER, mode=0o755)
    for library in _libraries(unpacked):
        tree.file(f"/{_LIBRARIES}/{library.name}", library, mode=0o755)
    return tree


def _closure(directory: Path) -> list[str]:
    """Git and the libraries among all that it needs on a system where nothing is installed."""
    status = directory / ".status"
    status.touch()
    apt = ["apt-get", "-qq", f"-oDir::State::status={status}"]
    simulate = [*apt, "--simulate", "--no-install-recommends", "install", "git"]
    done = _run(simulate)
    if done.returncode:
        _run([*apt, "update"])
        done = _run(simulate)
    status.unlink()
    if done.returncode:
        raise Trouble(f"apt does not know how to install git: {done.stderr.strip()[-300:]}")
    names = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("Inst ")]
    return [name for name in names if name == "git" or name.startswith(("lib", "zlib"))]


def _libraries(unpacked: Path) -> list[Path]:
    """What the programs load, as their own loader resolves it among the unpacked libraries."""
    places = [str(unpacked / folder) for folder in (_LIBRARIES, "lib/x86_64-linux-gnu")]
    found: set[Path] = set()
    for program in ("git", "git-remote-http"):
        done = _run([str(unpacked / _LOADER), "--library-path", ":".join(places), "--list", str(unpacked / _CORE / program)])
        lines = [line.strip() for line in done.stdout.splitlines()]
        missing = [line for line in lines if "not found" in line]
        if done.returncode or missing:
            raise Trouble(f"git's libraries are not complete: {missing or done.stderr.strip()}")
        found |= {Path(line.split(" => ")[1].split(" (")[0]) for line in lines if " => " in line and _LOADER.name not in line}
    foreign = [library for library in found if not library.is_relative_to(unpacked)]
    if foreign:
        raise Trouble(f"git would load libraries of this machine: {', '.join(map(str, foreign))}")
    return sorted(found)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    if shutil.which(command[0]) is None:
        raise Trouble(f"{command[0]} is missing: it is needed to put git into the BuildKit image")
    words = os.environ | {"LC_ALL": "C"}
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_PATIENCE_S, env=words)
