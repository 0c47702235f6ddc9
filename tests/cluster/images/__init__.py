"""Everything that the local cluster's mirror serves, made on the spot from Debian packages, the Go toolchain and this package's sources.

`ensure` is the whole interface. Each recipe fills an OCI layout in the cache, under a name with a hash of what it was made from; the
mirror's storage directory is put together from the layouts by hard links. What is in the cache already is not made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.images import busybox, storage
from tests.cluster.images.debian import Debian
from tests.cluster.images.oci import Layout
from tests.cluster.images.recipe import Kitchen, Recipe

RECIPES: tuple[Recipe, ...] = (
    Recipe(name="busybox", make=busybox.make_busybox, sources=["busybox.py"]),
    Recipe(name="alpine", make=busybox.make_alpine, sources=["busybox.py"]),
)

TOOLS = tuple(sorted({name for recipe in RECIPES for name in recipe.tools}))
"""The names of the tools that `ensure` must be given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """What the cluster needs of this package. All of it is in the cache and must not be written to."""

    mirror: Path
    """Storage directory of the mirror, for a read-only docker-registry."""


def ensure(tools: Mapping[str, Path], log: Callable[[str], None], *, cache: Path | None = None) -> Images:
    """Make the images that are missing and say where everything is.

    `tools` has at least `TOOLS`; `log` gets one line for each image that is made. Raises DebianError, CalledProcessError or OSError when
    one cannot be made; nothing half-made is left under its final name. Two processes may call at once: one waits for the other.
    """
    folder = (cache or _cache()) / "images"
    folder.mkdir(parents=True, exist_ok=True)
    goroot = Path(_go("env", "GOROOT"))
    go_version = (goroot / "VERSION").read_text().split()[0]
    places = {recipe.name: folder / f"{recipe.name}-{recipe.key(tools, go_version)}" for recipe in RECIPES}
    debian = Debian(folder / "debian")

    def make(recipe: Recipe) -> None:
        with _unless_there(places[recipe.name]) as unfinished:
            if unfinished is None:
                return
            began = time.monotonic()
            with tempfile.TemporaryDirectory(dir=folder, prefix=f".{recipe.name}-") as scratch:
                kitchen = Kitchen(tools=tools, debian=debian, goroot=goroot, scratch=Path(scratch))
                recipe.make(kitchen, Layout.create(unfinished))
            log(f"image {recipe.name}: made in {time.monotonic() - began:.0f} s")

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        list(pool.map(make, RECIPES))
    return Images(mirror=_mirror(folder, list(places.values())))


def _mirror(folder: Path, layouts: Sequence[Path]) -> Path:
    key = hashlib.sha256("\n".join(sorted(place.name for place in layouts)).encode()).hexdigest()[:16]
    mirror = folder / f"mirror-{key}"
    with _unless_there(mirror) as unfinished:
        if unfinished is not None:
            unfinished.mkdir()
            for place in layouts:
                storage.publish(Layout(place), unfinished)
    return mirror


@contextmanager
def _unless_there(place: Path) -> Iterator[Path | None]:
    """Give a name to make `place` under, renamed when the block ends well; None when it is there. One process at a time."""
    if place.exists():
        yield None
        return
    with place.with_name(f".{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if place.exists():
            yield None
            return
        unfinished = place.with_name(f".{place.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        yield unfinished
        unfinished.rename(place)


def _cache() -> Path:
    named = os.environ.get("KB_CLUSTER_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kubectl-build-cluster"


def _go(*arguments: str) -> str:
    return subprocess.run(["go", *arguments], capture_output=True, text=True, check=True, timeout=60).stdout.strip()
