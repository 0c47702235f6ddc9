"""A directory to build in, with something beside it that no daemon may ever see."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True)
class Place:
    """`context` is what is built; `outside` has the file `canary`, whose contents are `canary`. `socket` is where a daemon may listen."""

    context: Path
    outside: Path
    canary: str
    socket: Path

    def untouched(self) -> bool:
        """Whether nothing was written outside."""
        names = sorted(path.name for path in self.outside.iterdir())
        return names == ["canary"] and (self.outside / "canary").read_text() == self.canary


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A new place, with links in the context that lead out of it."""
    context, outside = tmp_path / "context", tmp_path / "outside"
    context.mkdir()
    outside.mkdir()
    canary = f"canary-{secrets.token_hex(16)}"
    (outside / "canary").write_text(canary)
    (context / "Dockerfile").write_text("FROM scratch\n")
    (context / "file").write_text("inside")
    (context / "link").symlink_to(outside)
    (context / "up").symlink_to("../outside/canary")
    return Place(context, outside, canary, tmp_path / "s")
