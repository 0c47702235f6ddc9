"""An archive that is the context, served to a real buildkitd as http://buildkit-session/<id>."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Literal

import grpc.aio
import pytest

from kubectl_build.model.digest import sha256_digest
from kubectl_build.proto.control_pb2 import Exporter
from kubectl_build.session.filesend import DirTarget, FileSend
from kubectl_build.session.session import Session
from kubectl_build.session.upload import Upload, upload_url
from tests.integration.daemon import Daemon

pytestmark = pytest.mark.integration

_Mode = Literal["w", "w:gz", "w:bz2", "w:xz"]


def _archive(path: Path, mode: _Mode, content: bytes) -> str:
    """Write a context with a Dockerfile and `file`; return its id, the digest of its bytes."""
    dockerfile = b"FROM scratch\nCOPY file /\nCOPY file /again\n"
    with tarfile.open(path, mode) as tar:
        for name, data in (("Dockerfile", dockerfile), ("file", content)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return sha256_digest(path.read_bytes()).partition(":")[2]


async def _build(daemon: Daemon, upload: Upload, id: str, out: Path, **attrs: str) -> Session:
    session = Session(shared_key="", attachables=[upload, FileSend({0: DirTarget(out)})])
    async with daemon.attached(session):
        await daemon.solve(session, attrs={"context": upload_url(id), **attrs}, exporters=(Exporter(Type="local"),))
    return session


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
async def test_archive_in_any_compression_is_the_context(daemon: Daemon, tmp_path: Path, mode: _Mode) -> None:
    content = os.urandom(700_000)
    id = _archive(tmp_path / "context", mode, content)

    await _build(daemon, Upload({id: tmp_path / "context"}), id, tmp_path / "out")

    assert (tmp_path / "out" / "file").read_bytes() == content
    assert (tmp_path / "out" / "again").read_bytes() == content


async def test_archive_is_sent_once_for_each_solve_and_its_steps_are_cached(daemon: Daemon, tmp_path: Path) -> None:
    content = os.urandom(700_000)
    id = _archive(tmp_path / "context", "w", content)
    size = (tmp_path / "context").stat().st_size
    upload = Upload({id: tmp_path / "context"})

    sent = []
    for number in range(2):
        await _build(daemon, upload, id, tmp_path / f"out{number}")
        sent.append(upload.bytes_sent)

    assert sent == [size, 2 * size]
    assert (tmp_path / "out1" / "file").read_bytes() == content


async def test_archive_that_is_not_served_is_told_by_its_id(daemon: Daemon, tmp_path: Path) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match='this client has no file "missing" to upload'):
        await _build(daemon, Upload({}), "missing", tmp_path / "out")
