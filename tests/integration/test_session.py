"""Contexts and outputs through a real buildkitd: what comes back is what was there."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from kubectl_build.errors import UsageError
from kubectl_build.proto.control_pb2 import Exporter
from kubectl_build.session.filesend import DirTarget, ExportTarget, FileSend, FileTarget
from kubectl_build.session.filesync import FileSync, LocalDir
from kubectl_build.session.session import Session
from kubectl_build.session.shared_key import session_shared_key
from tests.integration.daemon import Daemon

pytestmark = pytest.mark.integration

_EXPORTERS = (Exporter(Type="local"), Exporter(Type="tar"))


@pytest.fixture
def dockerfile(tmp_path: Path) -> Path:
    """A Dockerfile in a directory of its own."""
    directory = tmp_path / "dockerfile"
    directory.mkdir()
    (directory / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    return directory


class Build:
    """One build of a context; `files` counts what was sent."""

    def __init__(self, context: Path, dockerfile: Path, targets: dict[int, ExportTarget] | None = None, shared_key: str = "") -> None:
        self.context = FileSync({"context": LocalDir(context), "dockerfile": LocalDir(dockerfile)})
        attachables: list[Any] = [self.context]
        if targets:
            attachables.append(FileSend(targets))
        self.session = Session(shared_key=shared_key or session_shared_key(context, {}), attachables=attachables)
        self._exporters = _EXPORTERS[: len(targets or ())]

    async def run(self, daemon: Daemon, **attrs: str) -> None:
        await daemon.settled()
        async with daemon.attached(self.session):
            await daemon.solve(self.session, attrs=attrs, exporters=self._exporters)

    @property
    def context_files(self) -> int:
        """Files sent beside the Dockerfile, which is always asked for."""
        return self.context.files_sent - 1


@asynccontextmanager
async def _failing() -> AsyncIterator[None]:
    with pytest.raises(grpc.aio.AioRpcError):
        yield


def _describe(root: Path) -> dict[str, tuple[Any, ...]]:
    """What a tree is: for each path its kind, permissions, time, contents or target, first name of its inode and extended attributes."""
    found: dict[str, tuple[Any, ...]] = {}
    inodes: dict[int, str] = {}
    for directory, subdirectories, names in os.walk(root):
        subdirectories.sort()
        for name in sorted(subdirectories + names):
            path = Path(directory, name)
            status = path.lstat()
            relative = str(path.relative_to(root))
            mode = status.st_mode
            content: Any = None
            if stat.S_ISREG(mode):
                content = path.read_bytes()
            elif stat.S_ISLNK(mode):
                content = os.readlink(path)
            first = inodes.setdefault(status.st_ino, relative) if not stat.S_ISDIR(mode) else ""
            attributes = {key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)}
            found[relative] = (stat.S_IFMT(mode), stat.S_IMODE(mode), status.st_mtime_ns, content, first, attributes)
    return found


def _odd_tree(root: Path) -> Path:
    """Everything that a context may hold, links between directories included."""
    for directory in ("plain", "deep/er/est", "sp ace", "ünï/ß", "empty", "!bang", "-dash", "new\nline"):
        (root / directory).mkdir(parents=True)
    for number, name in enumerate(("a", "plain/b.txt", "deep/er/est/c", "sp ace/d e", "ünï/ß/ü", "!bang/f", "-dash/-g", "new\nline/h\ti")):
        (root / name).write_bytes(f"content {number}".encode())
    (root / f"of {root.parent.name}").touch()  # so that no other test's context has the same key
    (root / "big").write_bytes(os.urandom(5_000_001))
    (root / "x.sh").write_text("#!/bin/sh\n")
    for name, mode in {"x.sh": 0o755, "plain/b.txt": 0o600, "a": 0o4750, "plain": 0o2775, "empty": 0o1777, "deep/er/est/c": 0o444}.items():
        (root / name).chmod(mode)
    for name, target in {"to-a": "a", "plain/up": "../deep", "dangling": "no/such", "absolute": "/etc/hostname", "loop": "loop"}.items():
        (root / name).symlink_to(target)
    os.link(root / "a", root / "deep" / "hard")
    os.link(root / "a", root / "zz-hard")
    os.setxattr(root / "plain" / "b.txt", "user.note", b"value\0\xff")
    os.mkfifo(root / "fifo")
    for number, (directory, _, names) in enumerate(os.walk(root)):
        for name in (*names, "."):
            time = 1_500_000_000_123_456_789 + number * 1_000_000_007 + len(name)
            os.utime(Path(directory, name), ns=(time, time), follow_symlinks=False)
    return root


async def test_context_of_every_kind_of_entry_comes_back_as_it_was(daemon: Daemon, tmp_path: Path, dockerfile: Path) -> None:
    context = _odd_tree(tmp_path / "context")
    build = Build(context, dockerfile, {0: DirTarget(tmp_path / "out"), 1: FileTarget(tmp_path / "out.tar")})

    await build.run(daemon)

    expected = _describe(context)
    assert _describe(tmp_path / "out") == expected
    with tarfile.open(tmp_path / "out.tar") as tar:
        members = {member.name.rstrip("/"): member for member in tar}
        assert members.keys() == expected.keys()
        for name, member in members.items():
            kind, mode, _, content, _, _ = expected[name]
            assert (member.mode & 0o7777, member.uid, member.gid) == (mode, 0, 0)
            if member.isreg():
                extracted = tar.extractfile(member)
                assert extracted is not None
                assert (kind, extracted.read()) == (stat.S_IFREG, content)


async def test_same_context_again_sends_no_file(daemon: Daemon, tmp_path: Path, dockerfile: Path) -> None:
    context = _odd_tree(tmp_path / "context")
    first = Build(context, dockerfile)
    await first.run(daemon)
    again = Build(context, dockerfile)
    await again.run(daemon)

    assert first.context_files > 10
    assert again.context_files == 0


@pytest.mark.parametrize("place", ["elsewhere/context", "renamed"])
async def test_copy_with_its_times_sends_no_file(daemon: Daemon, tmp_path: Path, dockerfile: Path, place: str) -> None:
    context = _odd_tree(tmp_path / "context")
    await Build(context, dockerfile).run(daemon)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    shutil.copytree(context, tmp_path / place, symlinks=True, ignore=shutil.ignore_patterns("fifo"))
    os.mkfifo(tmp_path / place / "fifo")
    for name in ("deep/hard", "zz-hard"):
        (tmp_path / place / name).unlink()
        os.link(tmp_path / place / "a", tmp_path / place / name)
    copy = Build(tmp_path / place, dockerfile)
    await copy.run(daemon)

    assert copy.context_files == 0


async def test_file_that_was_edited_is_the_only_one_sent(daemon: Daemon, tmp_path: Path, dockerfile: Path) -> None:
    context = _odd_tree(tmp_path / "context")
    await Build(context, dockerfile).run(daemon)
    (context / "sp ace" / "d e").write_text("edited")
    edited = Build(context, dockerfile, {0: DirTarget(tmp_path / "out")})
    await edited.run(daemon)

    assert edited.context_files == 1
    assert (tmp_path / "out" / "sp ace" / "d e").read_text() == "edited"


async def test_dockerignore_of_5000_lines_with_an_exception_is_kept(daemon: Daemon, tmp_path: Path, dockerfile: Path) -> None:
    context = tmp_path / "context"
    for name in ("keep", "skip4999", "logs/a.log", "logs/deep/keep.log", "logs/deep/b.log", "ünï/x"):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text(name)
    lines = [
        *(f"skip{number}" for number in range(5000)),
        "logs",
        "!logs/**/keep.log",
        "**/ü*/",
        ".dockerignore",
        "  # blanks",
        "# comment",
    ]
    (context / ".dockerignore").write_text("\n".join(lines) + "\n")
    build = Build(context, dockerfile, {0: DirTarget(tmp_path / "out")})

    await build.run(daemon)

    assert sorted(_describe(tmp_path / "out")) == ["keep", "logs", "logs/deep", "logs/deep/keep.log"]


async def test_copy_of_a_link_sends_what_it_leads_to(daemon: Daemon, tmp_path: Path, dockerfile: Path) -> None:
    context = tmp_path / "context"
    for name in ("real/x", "other/y"):
        (context / name).parent.mkdir(parents=True)
        (context / name).write_text(name)
    (context / "link").symlink_to("real")
    (dockerfile / "Dockerfile").write_text("FROM scratch\nCOPY link/x /x\n")
    build = Build(context, dockerfile, {0: DirTarget(tmp_path / "out")})

    await build.run(daemon)

    assert (tmp_path / "out" / "x").read_text() == "real/x"
    assert build.context_files == 1


async def test_many_files_come_back(daemon: Daemon, tmp_path: Path, dockerfile: Path) -> None:
    context = tmp_path / "context"
    for number in range(4000):
        path = context / f"d{number % 37}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number))
    build = Build(context, dockerfile, {0: DirTarget(tmp_path / "out")})

    await build.run(daemon)

    assert build.context_files == 4000
    assert _describe(tmp_path / "out") == _describe(context)


async def test_context_with_a_name_that_is_not_utf8_fails_by_name(daemon: Daemon, tmp_path: Path, dockerfile: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    Path(os.fsdecode(os.fsencode(context) + b"/bad\xff")).touch()
    build = Build(context, dockerfile)

    async with _failing():
        await build.run(daemon)

    assert isinstance(build.session.failure, UsageError)


async def test_output_directory_that_cannot_be_made_fails_by_name(daemon: Daemon, tmp_path: Path, dockerfile: Path) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "a").touch()
    (tmp_path / "out").touch()
    build = Build(tmp_path / "context", dockerfile, {0: DirTarget(tmp_path / "out")})

    async with _failing():
        await build.run(daemon)

    assert isinstance(build.session.failure, UsageError)
    assert str(tmp_path / "out") in build.session.failure.message
