"""How much memory the client takes for contexts that are larger than it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.integration.buildkitd import running_buildkitd

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

LIMIT = 150_000_000
GIB = 1 << 30

# The peak is asked of the kernel by the process itself: what wait4 tells of a child begins with its parent's size.
_PROGRAM = """
import re, sys
from kubectl_build.cli.build import app
from kubectl_build.cli.main import run_app
report = sys.argv.pop(1)
code = run_app(app, "kubectl build", sys.argv[1:])
with open("/proc/self/status") as status, open(report, "w") as file:
    file.write(re.search(r"VmHWM:\\s+(\\d+) kB", status.read()).group(1))
sys.exit(code)
"""


@pytest.fixture(scope="module")
def roomy() -> Iterator[Path]:
    """A daemon whose state goes at once: pytest would keep some gigabytes of zeros for later."""
    if os.geteuid() != 0:
        pytest.skip("buildkitd needs root here")
    with tempfile.TemporaryDirectory() as folder, running_buildkitd(Path(folder)) as address:
        yield address


def peak(arguments: Sequence[str], daemon: Path, report: Path, stdin: Iterable[bytes] = ()) -> int:
    """Run a build to its end, and return the most memory, in bytes, that the client had resident."""
    command = [sys.executable, "-c", _PROGRAM, str(report), "--builder", f"unix://{daemon}", "--progress=plain", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        for data in stdin:
            process.stdin.write(data)
        _, said = process.communicate(timeout=200)
    assert process.returncode == 0, said.decode()
    return int(report.read_text()) * 1024


def archive(size: int) -> Iterator[bytes]:
    """A tar of a Dockerfile and a file of `size` zeros, made while it is read."""
    dockerfile = b"FROM scratch\nCOPY Dockerfile /\n"
    for name, length in (("Dockerfile", len(dockerfile)), ("big", size)):
        member = tarfile.TarInfo(name)
        member.size = length
        yield member.tobuf()
        if name == "Dockerfile":
            yield dockerfile.ljust(tarfile.BLOCKSIZE, b"\0")
    zeros = bytes(1 << 20)
    yield from (zeros for _ in range(size // len(zeros)))
    yield bytes(2 * tarfile.BLOCKSIZE)


def test_archive_of_two_gib_on_stdin_takes_little_memory(roomy: Path, tmp_path: Path) -> None:
    assert peak(["-"], roomy, tmp_path / "report", archive(2 * GIB)) < LIMIT


def test_file_of_one_gib_in_the_context_takes_little_memory(roomy: Path, tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY big /\n")
    with (context / "big").open("wb") as file:
        file.truncate(GIB)

    assert peak([str(context)], roomy, tmp_path / "report") < LIMIT


def test_archive_that_is_made_here_is_a_tar() -> None:
    with tarfile.open(fileobj=io.BytesIO(b"".join(archive(1 << 20)))) as made:
        assert [(member.name, member.size) for member in made] == [("Dockerfile", 31), ("big", 1 << 20)]
