"""Contexts and Dockerfiles in all their forms, and the private directory that some of them need."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from kubectl_build.cli.archive import is_archive
from kubectl_build.cli.inputs import Inputs, open_inputs, parse_context_names
from kubectl_build.cli.private import private_directory
from kubectl_build.errors import UsageError
from kubectl_build.model.inputs import ArchiveContext, Dockerfile, LayoutContext, LocalContext, NamedContext, RemoteContext
from kubectl_build.model.request import BuildRequest
from tests.unit.cli.conftest import Started

URL = "https://host/x.git#main:sub"


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for temporary files that has nothing else."""
    directory = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


def opened(path: str, file: str | None = None, *, data: bytes = b"", ignore_file: str | None = None) -> Inputs:
    with open_inputs(path, file, {}, ignore_file=ignore_file, stdin=io.BytesIO(data)) as inputs:
        return inputs


def tar_of(**files: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


def test_directory_has_its_dockerfile_under_either_name(context: Path) -> None:
    assert opened(".") == Inputs(context=LocalContext(Path()), dockerfile=Dockerfile(directory=context, shown="Dockerfile"), own=True)
    (context / "Dockerfile").rename(context / "dockerfile")
    for file in (None, "Dockerfile", ""):
        assert opened(str(context), file).dockerfile.name == "dockerfile"


def test_dockerfile_is_looked_up_from_the_working_directory(context: Path) -> None:
    (context / "sub").mkdir()
    (context / "sub" / "Other").write_text("FROM scratch\n")

    assert opened(".", "sub/Other").dockerfile == Dockerfile(name="Other", directory=context / "sub", shown="sub/Other")


def test_directory_goes_before_an_address_of_its_name(context: Path) -> None:
    (context / "github.com" / "a" / "b").mkdir(parents=True)
    (context / "github.com" / "a" / "b" / "Dockerfile").write_text("FROM scratch\n")

    assert opened("github.com/a/b").own
    assert opened("github.com/a/c").context == RemoteContext("github.com/a/c")


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (None, Dockerfile(shown="Dockerfile")),
        ("sub/Other", Dockerfile(name="sub/Other", shown="sub/Other")),
        ("https://host/Dockerfile", Dockerfile(url="https://host/Dockerfile", shown="https://host/Dockerfile")),
    ],
)
def test_dockerfile_of_a_remote_context_or_archive_is_inside(file: str | None, expected: Dockerfile) -> None:
    remote, archive = opened(URL, file), opened("-", file, data=tar_of(a="b"))

    assert (remote.context, remote.dockerfile) == (RemoteContext(URL), expected)
    assert archive.dockerfile == expected
    assert not any([remote.own, archive.own])


def test_dockerfile_of_a_remote_context_is_here_when_its_path_is_absolute(context: Path) -> None:
    file = str(context / "Dockerfile")

    assert opened(URL, file).dockerfile == Dockerfile(directory=context, separate=True, shown=file)


@pytest.mark.parametrize("path", [".", URL])
def test_dockerfile_on_stdin_is_in_a_directory_of_its_own(path: str, context: Path, temporary: Path) -> None:
    with open_inputs(path, "-", {}, stdin=io.BytesIO(b"FROM alpine\n" * 1000)) as inputs:
        directory = inputs.dockerfile.directory
        assert directory is not None
        assert inputs.dockerfile == Dockerfile(directory=directory, separate=True, shown="stdin")
        assert {file.name: file.read_bytes() for file in directory.iterdir()} == {"Dockerfile": b"FROM alpine\n" * 1000}
        assert stat.S_IMODE(os.stat(directory.parent).st_mode) == 0o700

    assert list(temporary.iterdir()) == []


def test_dockerfile_as_the_context_builds_in_an_empty_directory(temporary: Path) -> None:
    with open_inputs("-", None, {}, stdin=io.BytesIO(b"FROM alpine\n")) as inputs:
        assert isinstance(inputs.context, LocalContext)
        assert list(inputs.context.path.iterdir()) == []
        assert inputs.dockerfile.directory is not None
        assert (inputs.dockerfile.directory / "Dockerfile").read_text() == "FROM alpine\n"
        assert inputs.dockerfile.separate
        assert not inputs.own

    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress], ids=["tar", "gzip", "bzip2", "xz"])
def test_archive_on_stdin_is_kept_byte_for_byte(pack: Callable[[bytes], bytes], temporary: Path) -> None:
    data = pack(tar_of(Dockerfile="FROM scratch", big="x" * 3_000_000))

    with open_inputs("-", None, {}, stdin=io.BytesIO(data)) as inputs:
        assert isinstance(inputs.context, ArchiveContext)
        assert inputs.context.file.read_bytes() == data
        assert inputs.context.id == hashlib.sha256(data).hexdigest()

    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("data", [tar_of(**{"n" * 300: "x"}), bytes(10240)], ids=["extended", "empty"])
def test_archive_that_buildkit_would_not_know_gets_a_header_before_it(data: bytes, temporary: Path) -> None:
    with open_inputs("-", None, {}, stdin=io.BytesIO(data)) as inputs:
        assert isinstance(inputs.context, ArchiveContext)
        kept = inputs.context.file.read_bytes()
        assert inputs.context.id == hashlib.sha256(kept).hexdigest()

    assert kept[1024:] == data
    assert tarfile.TarInfo.frombuf(kept[:512], "utf-8", "strict").type == tarfile.XGLTYPE


def test_archive_that_zstd_packed_is_unpacked_or_refused(context: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tar_of(Dockerfile="FROM scratch")
    program = shutil.which("zstd")
    if program is not None:
        packed = subprocess.run([program, "-q"], input=data, capture_output=True, check=True).stdout
        with open_inputs("-", None, {}, stdin=io.BytesIO(packed)) as inputs:
            assert isinstance(inputs.context, ArchiveContext)
            assert inputs.context.file.read_bytes() == data
    monkeypatch.setenv("PATH", str(context))
    with pytest.raises(UsageError, match="compressed with zstd"):
        opened("-", data=b"\x28\xb5\x2f\xfd" + data)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"", False),
        (b"FROM scratch\n", False),
        (b"# " * 600, False),
        (b"\x00" * 1024, True),
        (tar_of(**{"a" * 150: "b"})[:1024], True),
        (tar_of(a="b")[:500], False),
        (b"BZh9", True),
        (b"\x1f\x8b\x08", True),
        (b"\x1f\x8b", False),
    ],
)
def test_archive_is_told_from_a_dockerfile_by_its_first_bytes(head: bytes, expected: bool) -> None:
    assert is_archive(head) is expected


def test_stdin_that_comes_in_pieces_is_read_until_it_can_be_told(temporary: Path) -> None:
    class Pieces(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            return super().read1(min(size or 0, 100))

    data = tar_of(a="b")
    with open_inputs("-", None, {}, stdin=Pieces(data)) as inputs:
        assert isinstance(inputs.context, ArchiveContext)
        assert inputs.context.file.read_bytes() == data


def test_stdin_that_is_closed_is_refused() -> None:
    with pytest.raises(UsageError, match="stdin is closed"), open_inputs("-", None, {}, stdin=None):
        pass


def test_ignore_file_lies_beside_a_copy_of_the_dockerfile(context: Path, temporary: Path) -> None:
    (context / "ignored").write_text("*.log\n")

    with open_inputs(".", None, {}, ignore_file="ignored") as inputs:
        directory = inputs.dockerfile.directory
        assert directory is not None
        assert {file.name: file.read_text() for file in directory.iterdir()} == {
            "Dockerfile": "FROM scratch\n",
            "Dockerfile.dockerignore": "*.log\n",
        }
        assert inputs.dockerfile == Dockerfile(directory=directory, separate=True, shown="Dockerfile")

    assert list(temporary.iterdir()) == []


def test_ignore_file_goes_with_a_dockerfile_on_stdin(context: Path) -> None:
    (context / "ignored").write_text("*.log\n")

    with open_inputs(".", "-", {}, ignore_file="ignored", stdin=io.BytesIO(b"FROM alpine\n")) as inputs:
        assert inputs.dockerfile.directory is not None
        assert (inputs.dockerfile.directory / "Dockerfile").read_text() == "FROM alpine\n"


def test_ignore_file_is_refused_with_an_archive() -> None:
    with pytest.raises(UsageError, match="--ignore-file needs a context that is a directory"):
        opened("-", data=tar_of(a="b"), ignore_file=__file__)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("sub", LocalContext(Path("sub"))),
        ("docker-image://alpine:3", RemoteContext("docker-image://alpine:3")),
        (URL, RemoteContext(URL)),
        ("https://host/x.tar.gz", RemoteContext("https://host/x.tar.gz")),
        ("git@host:x", RemoteContext("git@host:x")),
    ],
)
def test_named_context_of_each_form_is_understood(value: str, expected: NamedContext, context: Path) -> None:
    (context / "sub").mkdir()

    with open_inputs(".", None, {"a": value}) as inputs:
        assert inputs.named_contexts == {"a": expected}


def test_context_names_are_written_as_docker_writes_images() -> None:
    names = ["base=1", "alpine:latest=2", "docker.io/library/busybox=3", "docker.io/me/app:1=4", "reg.example/a/b:latest=5", "base=6=7", ""]

    assert parse_context_names(names) == {"base": "6=7", "alpine": "2", "busybox": "3", "me/app:1": "4", "reg.example/a/b": "5"}


def test_private_directory_is_gone_after_an_error(temporary: Path) -> None:
    def fail() -> None:
        with private_directory() as private:
            (private.make("a") / "file").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert list(temporary.iterdir()) == []


def test_private_directory_is_not_made_when_nothing_needs_it(context: Path, temporary: Path) -> None:
    with open_inputs(".", None, {}):
        assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signal_while_stdin_is_read_leaves_nothing_behind(number: signal.Signals, temporary: Path) -> None:
    code = "import sys; from kubectl_build.cli.main import build_main; sys.argv[1:] = ['-']; build_main()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"TMPDIR": str(temporary)}) as process:
        assert process.stdin is not None
        # More than a pipe holds: when it has been written, the copying has begun.
        process.stdin.write(tar_of(a="x" * 4_000_000))
        process.stdin.flush()
        assert len(list(temporary.iterdir())) == 1
        process.send_signal(number)
        # A signal just before a system call that waits is seen only after it.
        process.stdin.close()
        assert process.wait(timeout=50) == 128 + number

    assert list(temporary.iterdir()) == []


def test_build_has_its_files_until_it_ends(start: Callable[..., Started], stdin: Callable[[bytes], None], temporary: Path) -> None:
    data = tar_of(Dockerfile="FROM scratch")
    stdin(data)

    def look(request: BuildRequest) -> None:
        assert isinstance(request.context, ArchiveContext)
        assert request.context.file.read_bytes() == data
        assert request.vcs == {}

    start("-", look=look)

    assert list(temporary.iterdir()) == []


def test_layout_is_a_named_context_too(context: Path) -> None:
    digest = "sha256:" + "a" * 64

    (context / "index.json").write_text('{"manifests": [{"digest": "' + digest + '"}]}')
    with open_inputs(".", None, {"a": "oci-layout://.:tag"}) as inputs:
        layout = inputs.named_contexts["a"]

    assert isinstance(layout, LayoutContext)
    assert (layout.path, layout.digest) == (Path(), digest)


def test_dockerfile_in_a_pipe_is_read_once_and_kept(context: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["sh", "-c", f"printf 'FROM scratch\\n' > {pipe}"]), open_inputs(".", str(pipe), {}) as inputs:
        assert inputs.dockerfile.directory is not None
        assert (inputs.dockerfile.directory / "Dockerfile").read_text() == "FROM scratch\n"
        assert (inputs.dockerfile.separate, inputs.dockerfile.shown) == (True, str(pipe))
