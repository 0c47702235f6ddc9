"""Where contexts, Dockerfiles and build arguments come from: stdin, http, git, named contexts, ignore files. Each on two pools."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.kubectl import Namespace, Result
from tests.parity.servers import serving

BOTH = "--platform=linux/amd64,linux/arm64"
MACHINES = {"linux_amd64": "x86_64", "linux_arm64": "aarch64"}
FILES = {
    "Dockerfile": "FROM busybox AS b\nCOPY . /ctx\nRUN uname -m >/machine && find /ctx -type f | sort >/list\n"
    "FROM scratch\nCOPY --from=b /machine /list /\n",
    "hello": "hello\n",
    "sub/inner": "inner\n",
}
LIST = ["/ctx/Dockerfile", "/ctx/hello", "/ctx/sub/inner"]
NO_CONTEXT = "FROM busybox AS b\nRUN uname -m >/machine\nFROM scratch\nCOPY --from=b /machine /\n"

Build = Callable[..., dict[str, dict[str, str]]]


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def tar_of(files: dict[str, str], prefix: str = "") -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(prefix + name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return data.getvalue()


@pytest.fixture
def build(namespace: Namespace, tmp_path: Path) -> Build:
    """Build on both pools, with `stdin` if any, and return the files of the result by platform and name."""
    numbers = iter(range(10))

    def run(*words: str | Path, stdin: bytes | None = None, platforms: str = BOTH, cwd: Path | None = None) -> dict[str, dict[str, str]]:
        out = tmp_path / f"out-{next(numbers)}"
        command = ["kubectl", "build", *map(str, words), platforms, "-o", f"type=local,dest={out},platform-split=true"]
        done = subprocess.run(
            command, input=stdin or b"", env=namespace.kubectl.variables, cwd=cwd, capture_output=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"$ {' '.join(command)}\n{done.stderr.decode()}"
        assert done.stdout == b""
        return {
            folder.name: {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()} for folder in out.iterdir()
        }

    return run


def check(found: dict[str, dict[str, str]], listed: list[str] | None = None) -> None:
    """Assert that each platform ran on its machine, with `listed` files in its context."""
    assert {folder: files["machine"].strip() for folder, files in found.items()} == MACHINES
    for files in found.values():
        assert listed is None or files["list"].split() == listed


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with an archive, a Dockerfile and a git repository."""
    root = tmp_path_factory.mktemp("site")
    (root / "context.tar.gz").write_bytes(gzip.compress(tar_of(FILES)))
    (root / "Dockerfile.txt").write_text(FILES["Dockerfile"])
    (root / "data.txt").write_text("data\n")
    work = write(tmp_path_factory.mktemp("work"), {**{f"app/{n}": t for n, t in FILES.items()}, "Dockerfile": NO_CONTEXT})
    author = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@example.com",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@example.com",
    }
    for words in (
        ["init", "-q", "-b", "main"],
        ["add", "."],
        ["commit", "-q", "-m", "first"],
        ["tag", "v1"],
        ["rm", "-q", "app/hello"],
        ["commit", "-q", "-m", "second"],
        ["clone", "-q", "--bare", ".", str(root / "app.git")],
    ):
        subprocess.run(["git", *words], cwd=work, env=os.environ | author, check=True, timeout=20)
    with serving(root) as url:
        yield url


@pytest.mark.parametrize("compression", ["none", "gzip", "xz", "bzip2", "zstd"])
def test_inputs_tar_on_stdin_is_the_context(build: Build, compression: str) -> None:
    data = tar_of(FILES)
    match compression:
        case "gzip":
            data = gzip.compress(data)
        case "xz":
            data = lzma.compress(data)
        case "bzip2" | "zstd":
            if shutil.which(compression) is None:
                pytest.skip(f"{compression} is missing")
            data = subprocess.run([compression, "-c"], input=data, capture_output=True, check=True, timeout=20).stdout
    check(build("-", stdin=data), LIST)


def test_inputs_tar_on_stdin_with_another_dockerfile(build: Build) -> None:
    files = {"docker/App.dockerfile": FILES["Dockerfile"], "hello": "hello\n"}
    check(build("-", "-f", "docker/App.dockerfile", stdin=tar_of(files)), ["/ctx/docker/App.dockerfile", "/ctx/hello"])


def test_inputs_dockerfile_on_stdin_needs_no_context(build: Build, tmp_path: Path) -> None:
    check(build("-", stdin=NO_CONTEXT.encode(), cwd=write(tmp_path / "elsewhere", {"big": "x"})))


def test_inputs_dockerfile_on_stdin_beside_a_context(build: Build, tmp_path: Path) -> None:
    directory = write(tmp_path / "context", {"hello": "hello\n"})
    check(build(directory, "-f", "-", stdin=FILES["Dockerfile"].encode()), ["/ctx/hello"])


def test_inputs_dockerfile_of_a_url_beside_a_context(build: Build, site: str, tmp_path: Path) -> None:
    directory = write(tmp_path / "context", {"hello": "hello\n"})
    check(build(directory, "-f", f"{site}/Dockerfile.txt"), ["/ctx/hello"])


def test_inputs_http_archive_is_the_context(build: Build, site: str) -> None:
    check(build(f"{site}/context.tar.gz"), LIST)


@pytest.mark.parametrize(("fragment", "listed"), [("#v1:app", LIST), ("#main:app", [LIST[0], LIST[2]]), ("?tag=v1&subdir=app", LIST)])
def test_inputs_git_url_is_the_context_at_its_ref_and_directory(build: Build, site: str, fragment: str, listed: list[str]) -> None:
    check(build(f"{site}/app.git{fragment}"), listed)


def test_inputs_git_url_with_a_dockerfile_of_this_machine(build: Build, site: str, tmp_path: Path) -> None:
    directory = write(tmp_path / "docker", {"Local.dockerfile": FILES["Dockerfile"]})
    check(build(f"{site}/app.git#v1:app", "-f", directory / "Local.dockerfile"), LIST)


def test_inputs_named_contexts_of_every_kind(namespace: Namespace, build: Build, site: str, tmp_path: Path) -> None:
    """The layout has both platforms, and each pool takes its own. A file of a URL is called "context" in BuildKit."""
    layout = tmp_path / "layout"
    base = write(tmp_path / "base", {"Dockerfile": "FROM busybox\nRUN uname -m >/from-layout\n"})
    namespace.kubectl("build", base, BOTH, "-t", "example.com/base:v1", "-o", f"type=oci,tar=false,dest={layout}").ok()
    data = write(tmp_path / "data", {"file": "of a directory\n"})
    dockerfile = (
        "FROM base AS b\nRUN uname -m >/machine\nFROM image AS i\nRUN echo image >/image\nFROM scratch\n"
        "COPY --from=b /machine /from-layout /\nCOPY --from=i /image /\nCOPY --from=data file /\nCOPY --from=repo app/hello /\n"
        "COPY --from=http context /http\n"
    )
    named = {
        "base": f"oci-layout://{layout}:v1",
        "image": "docker-image://busybox",
        "data": str(data),
        "repo": f"{site}/app.git#v1",
        "http": f"{site}/data.txt",
    }
    found = build(
        write(tmp_path / "context", {"Dockerfile": dockerfile}), *[f"--build-context={name}={place}" for name, place in named.items()]
    )
    for folder, machine in MACHINES.items():
        assert found[folder] == {
            "machine": f"{machine}\n",
            "from-layout": f"{machine}\n",
            "image": "image\n",
            "file": "of a directory\n",
            "hello": "hello\n",
            "http": "data\n",
        }


def test_inputs_named_directory_keeps_to_its_own_ignore_file(build: Build, tmp_path: Path) -> None:
    data = write(tmp_path / "data", {"kept": "1", "dropped": "2", ".dockerignore": "dropped\n"})
    context = write(tmp_path / "context", {"Dockerfile": "FROM scratch\nCOPY --from=data . /\n"})
    found = build(context, "--build-context", f"data={data}")
    assert {name for files in found.values() for name in files} == {"kept", ".dockerignore"}


def test_inputs_dockerfiles_own_ignore_file_wins_over_the_contexts(build: Build, tmp_path: Path) -> None:
    files = {**FILES, ".dockerignore": "hello\n", "Dockerfile.dockerignore": "sub\n"}
    check(
        build(write(tmp_path / "context", files)),
        ["/ctx/.dockerignore", "/ctx/Dockerfile", "/ctx/Dockerfile.dockerignore", "/ctx/hello"],
    )


def test_inputs_ignore_file_of_the_flag_wins_over_both(build: Build, tmp_path: Path) -> None:
    files = {**FILES, ".dockerignore": "hello\n", "Dockerfile.dockerignore": "hello\n"}
    ignore = write(tmp_path / "ignore", {"mine": "sub\n**/*ignore\nDockerfile\n"}) / "mine"
    check(build(write(tmp_path / "context", files), "--ignore-file", ignore), ["/ctx/hello"])


def test_inputs_build_arguments_of_files_and_flags(build: Build, tmp_path: Path) -> None:
    text = (
        "FROM busybox AS b\nARG A=0 B=0 C=0 D=0\nRUN uname -m >/machine && echo $A $B $C $D >/args\n"
        "FROM scratch\nCOPY --from=b /machine /args /\n"
    )
    context = write(tmp_path / "context", {"Dockerfile": text})
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("# words\nA=1\nB=1\n\nC=a b\n")
    second.write_text("B=2\n")
    found = build(context, "--build-arg-file", first, "--build-arg-file", second, "--build-arg", "D=4")
    check(found)
    assert {files["args"] for files in found.values()} == {"1 2 a b 4\n"}


def refused(namespace: Namespace, *words: str | Path, code: int = 2, says: str) -> Result:
    return namespace.kubectl("build", *words).failed(code, says)


def test_inputs_that_are_not_there_are_told_in_one_sentence(namespace: Namespace, site: str, tmp_path: Path) -> None:
    context = write(tmp_path / "context", FILES)
    refused(namespace, tmp_path / "no", says=str(tmp_path / "no"))
    refused(namespace, context, "-f", tmp_path / "no.dockerfile", says="no.dockerfile")
    refused(namespace, context, "--ignore-file", tmp_path / "no", says=str(tmp_path / "no"))
    refused(namespace, context, "--build-arg-file", tmp_path / "no", says=str(tmp_path / "no"))
    refused(namespace, context, "--build-context", f"data={tmp_path / 'no'}", says=str(tmp_path / "no"))
    refused(namespace, "-", "-f", "-", says="stdin")
    refused(namespace, context, BOTH, "--build-context", "busybox=docker-image://no/where", code=6, says="docker.io/no/where")
    refused(namespace, f"{site}/app.git#nowhere", code=1, says="nowhere")
    refused(namespace, f"{site}/no.tar", code=1, says="404")
    refused(namespace, context, "-f", f"{site}/no.txt", code=1, says="404")
