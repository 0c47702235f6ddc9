"""The stand-alone executable for tests, made once for each state of the sources."""

from __future__ import annotations

import shutil
import time
from importlib.metadata import distributions
from pathlib import Path

from tests.cluster import cache
from tools.release.standalone import NAME, build_standalone

_ROOT = Path(__file__).parents[1]
_KEPT_S = 3600.0


def standalone() -> Path:
    """The directory with the executable. Takes some 40 s where the sources or the installed packages have changed."""
    sources = sorted(path for path in (_ROOT / "kubectl_build").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    versions = sorted(f"{found.name} {found.version}" for found in distributions())
    makers = [_ROOT / "tools" / "release" / name for name in ("entry.py", "standalone.py")]
    item = f"{NAME}-{cache.key([*(str(path) for path in sources), *sources, *versions, *makers])}"
    found = cache.ensure("standalone", item, _make) / NAME
    for old in found.parents[1].glob(f"{NAME}-*"):
        if old.name != item and time.time() - old.stat().st_mtime > _KEPT_S:  # a run that uses it has long ended
            shutil.rmtree(old, ignore_errors=True)
    return found


def _make(directory: Path) -> None:
    build_standalone(directory)
