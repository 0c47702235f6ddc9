"""The forms of context and Dockerfile that the command line reads itself, built by a real daemon and opened."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

_PROGRAM = "from kubectl_build.cli.main import build_main; build_main()"
Build = Callable[..., dict[str, str]]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    directory = tmp_path / "context"
    (directory / "sub").mkdir(parents=True)
    (directory / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (directory / "sub" / "Other").write_text("FROM scratch\nARG NAME\nCOPY ${NAME} /chosen\n")
    (directory / ".dockerignore").write_text("b.txt\n")
    for name in ("a", "b"):
        (directory / f"{name}.txt").write_text(name)
    return directory


@pytest.fixture
def build(buildkitd: Path, context: Path, tmp_path: Path) -> Build:
    """Runs the command in the context; returns the files of the result by their paths. No temporary file may be left."""

    def run(*args: str, stdin: bytes = b"") -> dict[str, str]:
        out, temporary = tmp_path / "out", tmp_path / "temporary"
        shutil.rmtree(out, ignore_errors=True)
        temporary.mkdir(exist_ok=True)
        command = [sys.executable, "-c", _PROGRAM, "--builder", f"unix://{buildkitd}", "--progress=plain", "-o", str(out), *args]
        environ = os.environ | {"TMPDIR": str(temporary), "HOME": str(tmp_path)}
        done = subprocess.run(command, cwd=context, input=stdin, env=environ, capture_output=True, timeout=50, check=False)
        assert done.returncode == 0, done.stderr.decode()
        assert list(temporary.iterdir()) == []
        return {str(file.relative_to(out)): file.read_text() for file in out.rglob("*") if file.is_file()}

    return run


def tar_of(directory: Path) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.add(directory, ".")
    # Its first entry has an extended header, since a time has a fraction of a second.
    return data.getvalue()


def test_ignore_file_goes_before_the_contexts_own(build: Build, context: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("*\n!a.txt\n!b.txt\na.txt\n")

    assert build(".").keys() == {"a.txt", "Dockerfile", "sub/Other", ".dockerignore"}
    assert build(".", "--ignore-file", str(tmp_path / "other")) == {"b.txt": "b"}
    assert build(".", "-f", "-", "--ignore-file", str(tmp_path / "other"), stdin=b"FROM scratch\nCOPY . /x/\n") == {"x/b.txt": "b"}
    assert sorted(file.name for file in context.iterdir()) == [".dockerignore", "Dockerfile", "a.txt", "b.txt", "sub"]


def test_build_args_of_a_file_choose_what_is_copied(build: Build, tmp_path: Path) -> None:
    (tmp_path / "arguments").write_text("# which\nNAME=a.txt\n")
    typed = ["--build-arg", "NAME=sub/Other", "-f", "sub/Other"]

    assert build(".", "-f", "sub/Other", "--build-arg-file", str(tmp_path / "arguments")) == {"chosen": "a"}
    assert build(".", *typed, "--build-arg-file", str(tmp_path / "arguments"))["chosen"].startswith("FROM scratch")


@pytest.mark.parametrize("program", ["cat", "gzip", "bzip2", "xz", "zstd"])
def test_archive_on_stdin_is_a_context_in_any_compression(program: str, build: Build, context: Path) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program} to compress with")
    data = subprocess.run([program], input=tar_of(context), capture_output=True, check=True, timeout=30).stdout

    # An archive has been packed as it is meant: its .dockerignore is a file like others.
    assert build("-", stdin=data).keys() == {"a.txt", "b.txt", "Dockerfile", "sub/Other", ".dockerignore"}
    assert build("-", "-f", "sub/Other", "--build-arg", "NAME=a.txt", stdin=data) == {"chosen": "a"}


def test_dockerfile_on_stdin_builds_with_a_directory_or_with_nothing(build: Build) -> None:
    assert build(".", "-f", "-", stdin=b"FROM scratch\nCOPY a.txt /\n") == {"a.txt": "a"}
    assert build("-", stdin=b"FROM scratch\nCOPY <<E /here\nhello\nE\n") == {"here": "hello\n"}


def test_named_contexts_are_directories_and_layouts(build: Build, context: Path, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    (context / "Dockerfile").write_text("FROM base\nCOPY --from=more x.txt /\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "x.txt").write_text("x")
    build(".", "-f", "-", "-o", f"type=oci,tar=false,dest={layout}", "-t", "base:v1", stdin=b"FROM scratch\nCOPY a.txt /\n")

    named = ["--build-context", f"more={tmp_path / 'more'}", "--build-context"]

    assert build(".", *named, f"base=oci-layout://{layout}:v1") == {"a.txt": "a", "x.txt": "x"}
    assert build(".", *named, f"docker.io/library/base:latest=oci-layout://{layout}") == {"a.txt": "a", "x.txt": "x"}
