"""A buildkitd of our own, for as long as a test needs it."""

from __future__ import annotations

import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster import tools

_START_SECONDS = 30.0


@contextmanager
def running_buildkitd(directory: Path, arguments: Sequence[str] = ()) -> Iterator[Path]:
    """Run a buildkitd with runc and the native snapshotter, all of it in `directory`; yield its socket once it listens."""
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
        *arguments,
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
