"""What the tests of session services share: a build of a Dockerfile whose steps run the probe, and what the probe found."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kubectl_build.proto.control_pb2 import Exporter
from kubectl_build.session.filesend import DirTarget, FileSend
from kubectl_build.session.filesync import FileSync, LocalDir
from kubectl_build.session.rpc import Attachable
from kubectl_build.session.session import Session
from tests.integration.daemon import Daemon

_SOURCE = Path(__file__).parent / "probe"


@functools.cache
def probe() -> Path:
    """The probe, built without libc so that a step can run it from scratch. Skips the test when Go is missing."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is missing: the probe cannot be built")
    directory = tempfile.TemporaryDirectory(prefix="probe-")
    atexit.register(directory.cleanup)
    binary = Path(directory.name, "probe")
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
    subprocess.run([go, "build", "-trimpath", "-o", binary, "."], cwd=_SOURCE, env=environment, check=True, timeout=300)
    return binary


class ProbeBuild:
    """A build of `dockerfile` in a directory of its own that has the program `probe`, with some attachables beside the context."""

    def __init__(self, directory: Path, dockerfile: str, *attachables: Attachable) -> None:
        self.context = directory / "probe-context"
        self.context.mkdir(exist_ok=True)
        shutil.copy2(probe(), self.context / "probe")
        (self.context / "Dockerfile").write_text(dockerfile)
        self._out = directory / "out"
        local = LocalDir(self.context)
        self._attachables: Sequence[Attachable] = (
            FileSync({"context": local, "dockerfile": local}),
            FileSend({0: DirTarget(self._out)}),
            *attachables,
        )

    async def run(self, daemon: Daemon, **attrs: str) -> Session:
        """Build in a new session, which is returned. Raises what the daemon says."""
        session = Session(shared_key="", attachables=self._attachables)
        async with daemon.attached(session):
            await daemon.solve(session, attrs=attrs, exporters=(Exporter(Type="local"),))
        return session

    def result(self, name: str = "result") -> Any:
        """What the probe wrote."""
        return json.loads((self._out / name).read_text())
