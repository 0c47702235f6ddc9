"""A buildkitd of our own for the tests that need a real one: its state in a temporary directory, its socket beside it."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.cluster import tools
from tests.integration.daemon import Daemon, connect

_START_SECONDS = 30.0


@pytest.fixture(scope="session")
def buildkitd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a running buildkitd with runc and the native snapshotter."""
    if os.geteuid() != 0:
        pytest.skip("buildkitd needs root here")
    directory = tmp_path_factory.mktemp("buildkitd")
    address = directory / "buildkitd.sock"
    log = directory / "log"
    programs = tools.ensure(["buildkitd", "runc"])
    command = [
        str(programs["buildkitd"]),
        f"--addr=unix://{address}",
        f"--root={directory / 'root'}",
        f"--config={directory / 'none.toml'}",
        "--oci-worker=true",
        f"--oci-worker-binary={programs['runc']}",
        "--oci-worker-snapshotter=native",
        "--oci-worker-net=host",
        "--containerd-worker=false",
    ]
    (directory / "none.toml").write_text("")
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        _wait(process, address, log)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _wait(process: subprocess.Popen[bytes], address: Path, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(address))
            except OSError:
                select.select([], [], [], 0.1)
                continue
            return
    pytest.fail(f"buildkitd did not start:\n{log.read_text()[-4000:]}")


@pytest.fixture
async def daemon(buildkitd: Path) -> AsyncIterator[Daemon]:
    """A channel to it."""
    async with connect(buildkitd) as client:
        yield client
