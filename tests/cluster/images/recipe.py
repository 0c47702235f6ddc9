"""What a recipe is: a function that fills one image layout, and everything that its result depends on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.images.debian import Debian
from tests.cluster.images.oci import Layout

SOURCES = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Kitchen:
    """What recipes work with: tools by name, Debian's packages, the Go toolchain's directory, a scratch directory of one's own."""

    tools: Mapping[str, Path]
    debian: Debian
    goroot: Path
    scratch: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One image layout. `sources` (beside this file) and `tools` are what it is made from, besides what every recipe is made from."""

    name: str
    make: Callable[[Kitchen, Layout], None]
    sources: Sequence[str]
    tools: Sequence[str] = ()
    uses_go: bool = False

    def key(self, tools: Mapping[str, Path], go_version: str) -> str:
        """A short hash of what the result depends on. Tools count by path and size: their directories carry their own keys."""
        digest = hashlib.sha256(go_version.encode() if self.uses_go else b"")
        for source in sorted({*self.sources, "layers.py", "oci.py", "debian.py", "recipe.py"}):
            digest.update(source.encode() + (SOURCES / source).read_bytes())
        for name in sorted(self.tools):
            digest.update(f"{name} {tools[name]} {tools[name].stat().st_size}\n".encode())
        return digest.hexdigest()[:16]
