"""Debian programs that are linked dynamically, with the libraries that they load: for images that have none.

Of what a package depends on only libraries are taken: the shell is busybox, and nothing is configured.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import cache, debian
from tests.cluster.images.layers import Tree
from tests.cluster.say import Trouble, say

_LOADER = Path("lib64/ld-linux-x86-64.so.2")
_LIBRARIES = "usr/lib/x86_64-linux-gnu"
"""Where the loader looks without being told."""
_PATIENCE_S = 300


@dataclass(frozen=True, slots=True)
class Linked:
    """A Debian package, unpacked with all libraries that it depends on."""

    package: str
    directory: Path

    @classmethod
    def fetch(cls, package: str) -> Linked:
        """Fetch what is not in the cache. Raises Trouble."""

        def make(directory: Path) -> None:
            if not debian.available():
                raise Trouble(f"apt-get or dpkg is missing: images have Debian's {package}, so this needs Debian or Ubuntu")
            say(f"fetching Debian's {package}")
            debian.fetch(_closure(package, directory), directory)

        return cls(package, cache.ensure("images", f"{package}-{cache.key([package, Path(__file__)])}", make))

    def add_libraries(self, tree: Tree, programs: Sequence[Path]) -> None:
        """Add the loader, and what `programs` (below the directory) load, as their own loader resolves it among the unpacked libraries."""
        tree.file(f"/{_LOADER}", self.directory / _LOADER, mode=0o755)
        for library in self._libraries(programs):
            tree.file(f"/{_LIBRARIES}/{library.name}", library, mode=0o755)

    def _libraries(self, programs: Iterable[Path]) -> list[Path]:
        places = [str(self.directory / folder) for folder in (_LIBRARIES, "lib/x86_64-linux-gnu")]
        found: set[Path] = set()
        for program in programs:
            loader = str(self.directory / _LOADER)
            done = _run([loader, "--library-path", ":".join(places), "--list", str(self.directory / program)])
            lines = [line.strip() for line in done.stdout.splitlines()]
            missing = [line for line in lines if "not found" in line]
            if done.returncode or missing:
                raise Trouble(f"the libraries of {self.package} are not complete: {missing or done.stderr.strip()}")
            found |= {Path(line.split(" => ")[1].split(" (")[0]) for line in lines if " => " in line and _LOADER.name not in line}
        foreign = [library for library in found if not library.is_relative_to(self.directory)]
        if foreign:
            raise Trouble(f"{self.package} would load libraries of this machine: {', '.join(map(str, foreign))}")
        return sorted(found)


def _closure(package: str, directory: Path) -> list[str]:
    """The package and the libraries among all that it needs on a system where nothing is installed."""
    status = directory / ".status"
    status.touch()
    apt = ["apt-get", "-qq", f"-oDir::State::status={status}"]
    simulate = [*apt, "--simulate", "--no-install-recommends", "install", package]
    done = _run(simulate)
    if done.returncode:
        _run([*apt, "update"])
        done = _run(simulate)
    status.unlink()
    if done.returncode:
        raise Trouble(f"apt does not know how to install {package}: {done.stderr.strip()[-300:]}")
    names = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("Inst ")]
    return [name for name in names if name == package or name.startswith(("lib", "zlib"))]


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    if shutil.which(command[0]) is None:
        raise Trouble(f"{command[0]} is missing: it is needed for images that have Debian's programs")
    words = os.environ | {"LC_ALL": "C"}
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_PATIENCE_S, env=words)
