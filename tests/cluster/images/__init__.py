"""Everything that the local cluster's mirror serves, made on the spot from Debian packages, the Go toolchain and this package's sources.

`ensure` is the whole interface. Each recipe fills an OCI layout in the cache, under a name with a hash of what it was made from; the
mirror's storage directory is put together from the layouts by hard links. What is in the cache already is not made again.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import cache
from tests.cluster.images import bases, buildkit, busybox, golang, nodes, packages, storage
from tests.cluster.images.oci import Layout
from tests.cluster.images.recipe import Kitchen, Recipe

_ROOTFS = "images/busybox.py"
_PROGRAMS = "images/programs.py"
_MODULE = ("go/buildkit/go.mod", "go/buildkit/go.sum")
_PAUSE = Recipe(name="pause", make=nodes.make_pause, sources=["layout.py", "images/nodes.py", "images/pause/pause.c"])
_MIRRORED = (
    Recipe(name="golang", make=golang.make, sources=["images/golang.py", _ROOTFS, _PROGRAMS], uses_go=True),
    Recipe(name="dockerfile", make=buildkit.make_frontend, sources=["images/buildkit.py", _PROGRAMS, *_MODULE], uses_go=True),
    Recipe(
        name="buildkit",
        make=buildkit.make_buildkit,
        sources=["images/buildkit.py", "images/git.py", "images/linked.py", "images/rootless.py", _ROOTFS],
        tools=buildkit.TOOLS,
    ),
    Recipe(name="busybox", make=busybox.make_busybox, sources=[_ROOTFS]),
    Recipe(name="alpine", make=busybox.make_alpine, sources=[_ROOTFS]),
    Recipe(
        name="binfmt",
        make=nodes.make_binfmt,
        sources=["images/nodes.py", "images/binfmt/main.go", "images/binfmt/go.mod", _ROOTFS, _PROGRAMS],
        tools=nodes.TOOLS,
        uses_go=True,
    ),
    Recipe(name="distroless", make=bases.make_distroless, sources=["images/bases.py", _ROOTFS]),
    Recipe(name="nanoserver", make=bases.make_nanoserver, sources=["images/bases.py"]),
)

RECIPES = (*_MIRRORED, _PAUSE)
"""All of them; the longest come first, for they are made two or more at a time."""

TOOLS = tuple(sorted({*buildkit.TOOLS, *nodes.TOOLS}))
"""The names of the tools that `ensure` must be given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """What the cluster needs of this package. All of it is in the cache and must not be written to."""

    mirror: Path
    """Storage directory of the mirror, for a read-only docker-registry."""
    archives: Mapping[str, Path]
    """By node architecture, the tar to import into the node's containerd: it has layout.PAUSE_IMAGE for that architecture."""


def ensure(tools: Mapping[str, Path], log: Callable[[str], None]) -> Images:
    """Make the images that are missing and say where everything is.

    `tools` has at least `TOOLS`; `log` gets one line for each image that is made, from more than one thread. Raises Trouble when one cannot
    be made; nothing half-made is left under its final name. Two processes may call at once: one waits for the other.
    """
    goroot = Path(subprocess.run(["go", "env", "GOROOT"], capture_output=True, text=True, check=True, timeout=60).stdout.strip())
    go_version = (goroot / "VERSION").read_text()

    def make(recipe: Recipe) -> Path:
        def fill(directory: Path) -> None:
            began = time.monotonic()
            with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{recipe.name}-") as scratch:
                kitchen = Kitchen(tools=tools, packages=packages.fetch(), goroot=goroot, scratch=Path(scratch))
                recipe.make(kitchen, Layout.create(directory))
            log(f"made the image {recipe.name} in {time.monotonic() - began:.0f} s")

        return cache.ensure("images", recipe.cache_item(tools, go_version), fill)

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        *mirrored, pause = pool.map(make, RECIPES)
    archives = {architecture: pause / f"{architecture}.tar" for architecture in nodes.ARCHITECTURES}
    return Images(mirror=_mirror(mirrored), archives=archives)


def _mirror(layouts: Sequence[Path]) -> Path:
    def fill(directory: Path) -> None:
        for place in layouts:
            storage.publish(Layout(place), directory)

    return cache.ensure("images", f"mirror-{cache.key([Path(storage.__file__), *(place.name for place in layouts)])}", fill)
