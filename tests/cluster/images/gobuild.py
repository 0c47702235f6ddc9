"""Static programs for images: `go build` without cgo, debug information or paths of this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path


def build(
    package: str, target: Path, *, architecture: str, folder: Path, tags: Sequence[str] = (), variables: Sequence[str] = (), patience: float = 900
) -> Path:
    """Build one main package for linux in the module at `folder` into the file `target`.

    `variables` are `import/path.name=value` for the linker. Raises CalledProcessError when go fails (its words are on stderr) and
    TimeoutExpired after `patience` seconds.
    """
    linker = " ".join(["-s", "-w", *(f"-X {variable}" for variable in variables)])
    environment = {**os.environ, "GOOS": "linux", "GOARCH": architecture, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"}
    command = ["go", "build", "-trimpath", "-buildvcs=false", f"-ldflags={linker}", "-tags", ",".join(tags), "-o", str(target), package]
    subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, check=True, timeout=patience)
    return target
