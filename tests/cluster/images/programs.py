"""Static programs for images: `go build` without cgo, debug information or paths of this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.say import Trouble

_PATIENCE_S = 900


def build(
    packages: Sequence[str], target: Path | str, *, architecture: str, folder: Path, tags: Sequence[str] = (), variables: Sequence[str] = ()
) -> None:
    """Build main packages for linux in the module at `folder`.

    `target` is a file, or a directory when it ends with a slash; `variables` are `import/path.name=value` for the linker. Raises Trouble
    with the end of go's words.
    """
    linker = " ".join(["-s", "-w", *(f"-X {variable}" for variable in variables)])
    environment = os.environ | {"GOOS": "linux", "GOARCH": architecture, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}
    command = ["go", "build", "-trimpath", "-buildvcs=false", f"-ldflags={linker}", "-tags", ",".join(tags), "-o", str(target), *packages]
    run(command, folder=folder, environment=environment)


def run(command: Sequence[str], *, folder: Path, environment: dict[str, str] | None = None) -> None:
    """Run a compiler; raises Trouble with the end of its words when it fails or takes longer than any build here should."""
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_PATIENCE_S
        )
    except FileNotFoundError as exc:
        raise Trouble(f"{command[0]} is missing: it is needed to make the cluster's images") from exc
    except subprocess.TimeoutExpired as exc:
        raise Trouble(f"{' '.join(command)} did not end within {_PATIENCE_S} s") from exc
    if done.returncode:
        raise Trouble(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
