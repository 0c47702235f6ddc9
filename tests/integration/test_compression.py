"""Compressed messages as a real daemon takes them: fewer bytes on the wire, and the same files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from kubectl_build.model.request import CompressContext
from kubectl_build.proto.control_pb2 import Exporter
from kubectl_build.session.filesend import DirTarget, FileSend
from kubectl_build.session.filesync import FileSync, LocalDir
from kubectl_build.session.session import Session
from kubectl_build.session.shared_key import session_shared_key
from tests.integration.daemon import Daemon

pytestmark = pytest.mark.integration


@dataclass(frozen=True, slots=True)
class _Sent:
    """What one build sent: bytes in the session, and bytes of files."""

    wire: int
    files: int


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """2 MB of text in files short and long, 1 MB of what cannot be compressed, and odd sizes."""
    root = tmp_path / "context"
    for number in range(300):
        path = root / f"d{number % 11}" / f"f{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"def function_{n}(value: int) -> int:\n    return value * {number}\n" for n in range(50)))
    (root / "long.txt").write_text("".join(f"line {n} of a long file\n" for n in range(60_000)))
    (root / "random").write_bytes(os.urandom(1_000_000))
    (root / "empty").touch()
    for size in (1, 255, 256, 257, 4096, 8192, 8193, 256 << 10, (256 << 10) + 1):
        (root / f"of {size}").write_bytes(b"x" * size)
    return root


def _contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


async def _build(daemon: Daemon, context: Path, compress: CompressContext, out: Path | None = None) -> _Sent:
    dockerfile = context.parent / "dockerfile"
    dockerfile.mkdir(exist_ok=True)
    (dockerfile / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    files = FileSync({"context": LocalDir(context), "dockerfile": LocalDir(dockerfile)})
    exporters, targets = ((Exporter(Type="local"),), [FileSend({0: DirTarget(out)})]) if out else ((), [])
    session = Session(shared_key=session_shared_key(context, {}), attachables=[files, *targets], compress=compress)
    await daemon.settled()
    async with daemon.attached(session) as pipe:
        await daemon.solve(session, exporters=exporters)
    return _Sent(pipe.sent, files.bytes_sent)


async def test_context_with_compression_takes_fewer_bytes_and_arrives_whole(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    sent = await _build(daemon, context, CompressContext.ON, tmp_path / "out")
    assert _contents(tmp_path / "out") == _contents(context)
    assert sent.files > 3_000_000
    assert 1_000_000 < sent.wire < 1_500_000


async def test_context_without_compression_is_sent_as_it_is(daemon: Daemon, context: Path) -> None:
    sent = await _build(daemon, context, CompressContext.OFF)
    assert sent.files > 3_000_000
    assert sent.wire > sent.files


async def test_context_compressed_where_it_pays_arrives_whole(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    """How much is compressed depends on how busy the daemon is; tests/unit/session decides that with a clock of its own."""
    sent = await _build(daemon, context, CompressContext.AUTO, tmp_path / "out")
    assert _contents(tmp_path / "out") == _contents(context)
    assert sent.files > 3_000_000


async def test_file_that_was_edited_is_the_only_one_sent_compressed(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    await _build(daemon, context, CompressContext.ON)
    (context / "long.txt").write_text("another line\n" * 50_000)
    sent = await _build(daemon, context, CompressContext.ON, tmp_path / "out")
    assert (tmp_path / "out" / "long.txt").read_text() == "another line\n" * 50_000
    assert sent.files < 700_000
    assert sent.wire < 100_000
