from __future__ import annotations

import os
from pathlib import Path

import pytest

from kubectl_build.errors import UsageError
from kubectl_build.proto.upload_pb2 import BytesMessage
from kubectl_build.session.rpc import NOT_FOUND, UNKNOWN
from kubectl_build.session.session import HEALTH_METHOD, Session
from kubectl_build.session.stream import HIGH_WATER
from kubectl_build.session.upload import CHUNK, Upload, upload_url
from tests.unit.session.peer import Call, Peer, served

_METHOD = "/moby.upload.v1.Upload/Pull"


async def _pull(peer: Peer, id: str) -> Call:
    return await peer.call(_METHOD, headers=[("urlpath", f"/{id}"), ("urlhost", "buildkit-session")], end=False)


def _data(call: Call) -> bytes:
    return b"".join(BytesMessage.FromString(message).data for message in call.messages)


@pytest.mark.parametrize("size", [0, 1, CHUNK, 3 * CHUNK + 7])
async def test_file_is_sent_whole_as_often_as_it_is_asked_for(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    async with served(Session(shared_key="", attachables=[Upload({"an-id": tmp_path / "file"})])) as peer:
        for _ in range(2):
            call = await _pull(peer, "an-id")
            assert await peer.finished(call) == (0, "")
            assert _data(call) == content


async def test_files_asked_for_at_once_are_not_mixed(tmp_path: Path) -> None:
    contents = {name: os.urandom(2_000_000) for name in ("a", "b")}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    async with served(Session(shared_key="", attachables=[Upload({name: tmp_path / name for name in contents})])) as peer:
        calls = {name: await _pull(peer, name) for name in contents}
        for name, call in calls.items():
            assert await peer.finished(call) == (0, "")
            assert _data(call) == contents[name]


async def test_file_is_read_no_faster_than_the_daemon_takes_it(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(20 << 20)
    upload = Upload({"id": tmp_path / "file"})
    async with served(Session(shared_key="", attachables=[upload])) as peer:
        peer.acknowledge = False
        call = await _pull(peer, "id")
        await peer.pump(lambda: peer.received >= 60_000)
        for _ in range(20):
            await peer.finished(await peer.call(HEALTH_METHOD, b""))
        assert CHUNK <= upload.bytes_sent <= HIGH_WATER + 2 * CHUNK
        peer.h2.reset_stream(call.id)
        await peer.flush()


async def test_unknown_file_is_not_found() -> None:
    async with served(Session(shared_key="", attachables=[Upload({})])) as peer:
        assert await peer.finished(await _pull(peer, "other")) == (NOT_FOUND, 'this client has no file "other" to upload')


async def test_file_that_is_gone_is_the_sessions_failure(tmp_path: Path) -> None:
    session = Session(shared_key="", attachables=[Upload({"id": tmp_path / "gone"})])
    async with served(session) as peer:
        status, message = await peer.finished(await _pull(peer, "id"))

    assert (status, message) == (UNKNOWN, f'"{tmp_path}/gone" cannot be read: no such file or directory')
    assert isinstance(session.failure, UsageError)


def test_upload_url_is_what_the_daemon_asks_sessions_for() -> None:
    assert upload_url("abc") == "http://buildkit-session/abc"
