"""The build context of the image for CI: its Dockerfile, and the stand-alone executable under all its names."""

from __future__ import annotations

import shutil
from pathlib import Path

from tools.release.standalone import NAME

COMMANDS = ("kubectl-build", "kubectl-buildkit", "kubectl_complete-build", "kubectl_complete-buildkit")
_DOCKERFILE = Path(__file__).parents[1] / "image" / "Dockerfile"


def write_context(standalone: Path, target: Path) -> None:
    """Write the context into directory `target`, which is made. `standalone` is what build_standalone made."""
    programs = target / "rootfs" / "usr" / "local"
    shutil.copytree(standalone, programs / "lib" / NAME, symlinks=True)
    (programs / "bin").mkdir()
    for name in COMMANDS:
        (programs / "bin" / name).symlink_to(f"../lib/{NAME}/{NAME}")
    # PyInstaller's executable loads zlib before it can say where its own libraries are, and the base has none.
    system = target / "rootfs" / "usr" / "lib" / "x86_64-linux-gnu"
    system.mkdir(parents=True)
    (system / "libz.so.1").symlink_to(f"/usr/local/lib/{NAME}/_internal/libz.so.1")
    shutil.copy(_DOCKERFILE, target / "Dockerfile")
