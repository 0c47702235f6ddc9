"""docker buildx, to compare with: the same daemon, the same commands."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.cluster import tools

Buildx = Callable[..., "subprocess.CompletedProcess[str]"]


def buildx_on(socket: Path, home: Path) -> Buildx:
    """What runs buildx with some arguments against the daemon behind `socket`; its configuration is in `home`, nobody else's."""
    program = tools.ensure(["buildx"])["buildx"]
    environ = {**os.environ, "BUILDX_CONFIG": str(home), "DOCKER_CONFIG": str(home), "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *args], env=environ, capture_output=True, text=True, timeout=180, check=False)

    created = run("create", "--use", "--name=compared", "--driver=remote", f"unix://{socket}")
    assert created.returncode == 0, created.stderr
    return run
