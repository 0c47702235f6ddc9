"""What a recipe is: a function that fills one image layout, and everything that its result depends on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tests.cluster import cache, layout
from tests.cluster.images.oci import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Kitchen:
    """What recipes work with: tools by name, Debian's packages, the Go toolchain's directory, a scratch directory of one's own."""

    tools: Mapping[str, Path]
    packages: Path
    goroot: Path
    scratch: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One image layout. `sources` (below tests/cluster) and `tools` are what it is made from, besides what every recipe is made from."""

    SHARED: ClassVar = ("images/layers.py", "images/oci.py", "images/packages.py", "images/recipe.py")

    name: str
    make: Callable[[Kitchen, Layout], None]
    sources: Sequence[str]
    tools: Sequence[str] = ()
    uses_go: bool = False

    def cache_item(self, tools: Mapping[str, Path], go_version: str) -> str:
        """Name the cache's directory, with a hash of what the result depends on.

        Tools count by path and size: the directories they are in have hashes of their own.
        """
        sources = [layout.SOURCES / source for source in sorted({*self.sources, *self.SHARED})]
        used = [f"{tools[name]} {tools[name].stat().st_size}" for name in self.tools]
        return f"{self.name}-{cache.key([*sources, *used, go_version if self.uses_go else ''])}"
