"""What is sent of a build context, and how often."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.kubectl import BuildLog, Namespace
from tests.e2e.registry import Registry

DOCKERFILE = "FROM busybox\nCOPY . /ctx\nRUN find /ctx -type f | sort >/list\n"


def build(namespace: Namespace, directory: Path, *more: str | Path) -> BuildLog:
    return BuildLog.of(namespace.kubectl("build", directory, "--progress=rawjson", *more).ok())


def test_second_build_of_an_unchanged_context_is_all_cached(namespace: Namespace, context: Callable[..., Path]) -> None:
    directory = context({"Dockerfile": DOCKERFILE, "a": "a" * 100_000})
    first = build(namespace, directory)

    again = build(namespace, directory)

    assert first.context_bytes() > 100_000
    assert again.uncached() == []


def test_build_from_a_copy_with_its_times_sends_no_file_again(namespace: Namespace, context: Callable[..., Path], tmp_path: Path) -> None:
    """The copy has the times of the original (cp -a), and lies at another path."""
    directory = context({"Dockerfile": DOCKERFILE, **{f"dir/{n}": os.urandom(50_000) for n in range(10)}})
    for number, path in enumerate(sorted(directory.rglob("*"))):
        os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))
    first = build(namespace, directory)
    copy = tmp_path / "elsewhere" / directory.name
    copy.parent.mkdir()
    subprocess.run(["cp", "-a", str(directory), str(copy)], check=True, timeout=20)

    again = build(namespace, copy)

    assert first.context_bytes() > 500_000
    assert again.context_bytes() < 10_000
    assert again.uncached() == []


@pytest.mark.parametrize("compress", ["on", "auto", "off"])
def test_context_compressed_on_its_way_or_not_arrives_whole(
    namespace: Namespace, context: Callable[..., Path], tmp_path: Path, compress: str
) -> None:
    files = {"text": b"a line of text\n" * 100_000, "random": os.urandom(300_000), "dir/short": b"x", "dir/empty": b""}
    directory = context({"Dockerfile": "FROM scratch\nCOPY . /\n", **files})
    out = tmp_path / "out"

    first = build(namespace, directory, f"--compress-context={compress}", "-o", out)
    again = build(namespace, directory, f"--compress-context={compress}", "-o", out)

    assert {name: (out / name).read_bytes() for name in files} == files
    assert first.context_bytes() > 1_800_000
    assert again.context_bytes() < 10_000


def test_dockerignore_of_five_thousand_lines_is_kept_to(
    namespace: Namespace, context: Callable[..., Path], registry: Registry, tmp_path: Path
) -> None:
    lines = [f"dir/ignored-{n}.txt" for n in range(4990)] + ["# a comment", "", "*.log", "!keep.log", "  blank  ", "Dockerfile"]
    files = {f"dir/ignored-{n}.txt": "x" for n in range(0, 4990, 10)}
    directory = context(
        {"Dockerfile": DOCKERFILE, ".dockerignore": "\n".join(lines), "a.log": "x", "keep.log": "x", "dir/kept": "x", "blank": "x", **files}
    )
    out = tmp_path / "out"

    namespace.kubectl("build", directory, "-o", out, timeout=60).ok()

    assert (out / "list").read_text().splitlines() == ["/ctx/.dockerignore", "/ctx/dir/kept", "/ctx/keep.log"]


def test_context_keeps_links_modes_and_odd_names(namespace: Namespace, context: Callable[..., Path], tmp_path: Path) -> None:
    directory = context({"Dockerfile": "FROM scratch\nCOPY . /\n", "é ü/ß 'q' \"": "1", "run.sh": "#!/bin/sh\n"})
    (directory / "run.sh").chmod(0o755)
    (directory / "link").symlink_to("run.sh")
    (directory / "dangling").symlink_to("nowhere")
    os.link(directory / "run.sh", directory / "hard")
    out = tmp_path / "out"

    namespace.kubectl("build", directory, "-o", out).ok()

    assert (out / "é ü" / "ß 'q' \"").read_text() == "1"
    assert (out / "run.sh").stat().st_mode & 0o777 == 0o755
    assert os.readlink(out / "link") == "run.sh"
    assert os.readlink(out / "dangling") == "nowhere"
    assert (out / "hard").read_text() == "#!/bin/sh\n"


def test_extended_attributes_of_a_context_reach_the_image(namespace: Namespace, context: Callable[..., Path], tmp_path: Path) -> None:
    directory = context({"Dockerfile": "FROM scratch\nCOPY f /\n", "f": "x"})
    try:
        os.setxattr(directory / "f", "user.color", b"blue")
    except OSError as error:
        pytest.skip(f"the temporary directory's filesystem has no extended attributes: {error}")
    out = tmp_path / "out"

    namespace.kubectl("build", directory, "-o", out).ok()

    assert os.getxattr(out / "f", "user.color") == b"blue"


def test_dockerfile_outside_the_context_and_its_own_ignore_file_are_used(
    namespace: Namespace, context: Callable[..., Path], tmp_path: Path
) -> None:
    directory = context({"kept": "1", "dropped": "2"})
    elsewhere = tmp_path / "docker"
    elsewhere.mkdir()
    (elsewhere / "App.dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (elsewhere / "App.dockerfile.dockerignore").write_text("dropped\n")
    out = tmp_path / "out"

    namespace.kubectl("build", directory, "-f", elsewhere / "App.dockerfile", "-o", out).ok()

    assert sorted(p.name for p in out.iterdir()) == ["kept"]
    shutil.rmtree(out)
