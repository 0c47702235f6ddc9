"""Both clients, each run as a user runs it, against a recording daemon of its own and in a directory of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.parity_requests.manners import Manners
from tests.parity_requests.recorder import Recorder, serve
from tests.parity_requests.told import Told, told

_SECONDS = 120.0

_BUILDER = '{"Name":"recorder","Driver":"remote","Nodes":[{"Name":"recorder0","Endpoint":"%s"}],"Dynamic":false}'
"""What `buildx create --driver remote` writes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a client ended, and what it told; `told` is None where it asked no frontend."""

    code: int
    output: str
    told: Told | None


async def run_buildx(
    program: Path, arguments: Sequence[str], directory: Path, environ: Mapping[str, str], stdin: bytes, manners: Manners
) -> Outcome:
    """Run `docker buildx build` with `arguments`."""
    socket = directory / "recorder.sock"
    instances = directory / "buildx" / "instances"
    instances.mkdir(parents=True)
    (instances / "recorder").write_text(_BUILDER % f"unix://{socket}")
    command = [str(program), "build", "--builder=recorder", *arguments]
    return await _run(command, socket, directory, {"BUILDX_CONFIG": str(directory / "buildx"), **environ}, stdin, manners)


async def run_ours(arguments: Sequence[str], directory: Path, environ: Mapping[str, str], stdin: bytes, manners: Manners) -> Outcome:
    """Run `kubectl build` with `arguments`."""
    socket = directory / "recorder.sock"
    command = [str(Path(sys.executable).with_name("kubectl-build")), f"--builder=unix://{socket}", *arguments]
    return await _run(command, socket, directory, environ, stdin, manners)


async def _run(
    command: Sequence[str], socket: Path, directory: Path, environ: Mapping[str, str], stdin: bytes, manners: Manners
) -> Outcome:
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "DOCKER_CONFIG": str(directory / "docker"),
        "KUBECONFIG": os.devnull,
        **environ,
    }
    recorder = Recorder(manners)
    async with serve(recorder, socket):
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=directory,
            env=variables,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(_SECONDS):
                output, _ = await process.communicate(stdin)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    asked = any(build.gateway is not None and build.gateway.Frontend for build in recorder.builds.values())
    assert process.returncode is not None
    return Outcome(process.returncode, output.decode("utf-8", "replace"), told(recorder, directory) if asked else None)
