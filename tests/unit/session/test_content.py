from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from kubectl_build.errors import ProtocolError, UsageError
from kubectl_build.layout.store import LayoutStore
from kubectl_build.proto import content_pb2 as pb
from kubectl_build.session.content import ContentStores
from kubectl_build.session.rpc import (
    ALREADY_EXISTS,
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NOT_FOUND,
    OK,
    OUT_OF_RANGE,
    UNIMPLEMENTED,
    UNKNOWN,
)
from kubectl_build.session.session import Session
from tests.unit.session.peer import Call, Peer, served

_SERVICE = "/containerd.services.content.v1.Content/"
_STORE = "local:dir with blanks"
_HEADERS = [("buildkit-attachable-store-id", _STORE)]


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _session(path: Path, *, read_only: bool = False) -> Session:
    return Session(shared_key="", attachables=[ContentStores({_STORE: LayoutStore(path, read_only=read_only)})])


def _have(path: Path, data: bytes) -> str:
    """Put a blob where a layout has it."""
    digest = _digest(data)
    file = path / "blobs" / digest.replace(":", "/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return digest


def _write(action: int, **fields: object) -> bytes:
    return pb.WriteContentRequest(action=action, **fields).SerializeToString()  # type: ignore[arg-type]  # an action of the enum, fields by name


async def _begin(peer: Peer, *messages: bytes) -> Call:
    """Start a Write call and wait for an answer to each message."""
    call = await peer.call(f"{_SERVICE}Write", *messages, headers=_HEADERS, end=False)
    await peer.pump(lambda: call.status or len(call.messages) == len(messages))
    return call


def _answers(call: Call) -> list[pb.WriteContentResponse]:
    return [pb.WriteContentResponse.FromString(message) for message in call.messages]


async def _status(peer: Peer, method: str, message: bytes = b"", headers: list[tuple[str, str]] = _HEADERS) -> tuple[int, str]:
    return await peer.finished(await peer.call(f"{_SERVICE}{method}", message, headers=headers))


async def test_info_of_a_blob_tells_its_size(tmp_path: Path) -> None:
    digest = _have(tmp_path, b"four")

    async with served(_session(tmp_path)) as peer:
        call = await peer.call(f"{_SERVICE}Info", pb.InfoRequest(digest=digest).SerializeToString(), headers=_HEADERS)
        assert await peer.finished(call) == (OK, "")

    info = pb.InfoResponse.FromString(call.messages[0]).info
    assert (info.digest, info.size) == (digest, 4)
    assert info.created_at.seconds > 1_600_000_000


@pytest.mark.parametrize("digest", ["", "sha256:../../../etc/passwd", "sha256:" + "A" * 64, "../x:y", "sha256:" + "a" * 63])
async def test_what_is_no_digest_reaches_no_file(tmp_path: Path, digest: str) -> None:
    async with served(_session(tmp_path)) as peer:
        assert (await _status(peer, "Info", pb.InfoRequest(digest=digest).SerializeToString()))[0] == INVALID_ARGUMENT
        assert (await _status(peer, "Read", pb.ReadContentRequest(digest=digest).SerializeToString()))[0] == INVALID_ARGUMENT
        if digest:
            assert (await _status(peer, "Write", _write(pb.STAT, ref="r", expected=digest)))[0] == INVALID_ARGUMENT
            commit = _write(pb.COMMIT, ref="r", data=b"x", expected=digest)
            assert (await _status(peer, "Write", commit))[0] == INVALID_ARGUMENT
    assert os.listdir(tmp_path) == []


async def test_unknown_blob_store_and_method_are_refused(tmp_path: Path) -> None:
    request = pb.InfoRequest(digest=_digest(b"x")).SerializeToString()

    async with served(_session(tmp_path / "missing")) as peer:
        assert await _status(peer, "Info", request) == (NOT_FOUND, f"content {_digest(b'x')}: not found")
        assert (await _status(peer, "Info", request, [("buildkit-attachable-store-id", "local:/")]))[0] == NOT_FOUND
        assert (await _status(peer, "Info", request, []))[0] == INVALID_ARGUMENT
        assert (await _status(peer, "Info", b"\xff\xff"))[0] == INVALID_ARGUMENT
        for method in ("Delete", "Update", "List"):
            assert (await _status(peer, method))[0] == UNIMPLEMENTED


@pytest.mark.parametrize(
    ("offset", "size", "expected"),
    [(0, 0, slice(None)), (3, 4, slice(3, 7)), (2_500_000, 0, slice(2_500_000, None)), (5, 9_999_999, slice(5, None)), (-1, 3, slice(3))],
)
async def test_read_gives_the_bytes_that_are_asked_for(tmp_path: Path, offset: int, size: int, expected: slice) -> None:
    data = os.urandom(3_000_001)
    digest = _have(tmp_path, data)

    async with served(_session(tmp_path, read_only=True)) as peer:
        request = pb.ReadContentRequest(digest=digest, offset=offset, size=size)
        call = await peer.call(f"{_SERVICE}Read", request.SerializeToString(), headers=_HEADERS)
        assert await peer.finished(call) == (OK, "")

    answers = [pb.ReadContentResponse.FromString(message) for message in call.messages]
    assert b"".join(answer.data for answer in answers) == data[expected]
    assert max(len(answer.data) for answer in answers) <= 1 << 20
    assert answers[0].offset == 0


async def test_read_past_the_end_is_out_of_range(tmp_path: Path) -> None:
    digest = _have(tmp_path, b"four")

    async with served(_session(tmp_path)) as peer:
        assert await _status(peer, "Read", pb.ReadContentRequest(digest=digest, offset=4).SerializeToString()) == (OK, "")
        assert (await _status(peer, "Read", pb.ReadContentRequest(digest=digest, offset=5).SerializeToString()))[0] == OUT_OF_RANGE


async def test_write_that_is_committed_is_a_blob(tmp_path: Path) -> None:
    data = os.urandom(9 << 20)
    digest = _digest(data)

    async with served(_session(tmp_path / "new" / "store")) as peer:
        call = await _begin(
            peer,
            _write(pb.STAT, ref="r", total=len(data), expected=digest),
            _write(pb.STAT),
            _write(pb.WRITE, data=data[: 8 << 20]),
            _write(pb.COMMIT, offset=8 << 20, data=data[8 << 20 :], total=len(data), expected=digest),
        )
        assert await peer.finished(call) == (OK, "")

    assert [(answer.action, answer.offset) for answer in _answers(call)] == [(0, 0), (0, 0), (1, 8 << 20), (2, len(data))]
    assert _answers(call)[-1].digest == digest
    assert (tmp_path / "new" / "store" / "blobs" / digest.replace(":", "/")).read_bytes() == data
    assert os.listdir(tmp_path / "new" / "store") == ["blobs"]


async def test_write_of_a_blob_that_exists_is_told_at_once(tmp_path: Path) -> None:
    digest = _have(tmp_path, b"four")
    os.utime(tmp_path / "blobs" / digest.replace(":", "/"), (0, 0))

    async with served(_session(tmp_path)) as peer:
        assert (await _status(peer, "Write", _write(pb.STAT, ref="r", total=4, expected=digest)))[0] == ALREADY_EXISTS

    assert (tmp_path / "blobs" / digest.replace(":", "/")).stat().st_mtime > 1_600_000_000  # counts as new


async def test_several_writes_of_one_blob_at_once_all_end_well(tmp_path: Path) -> None:
    data = b"the same"
    digest = _digest(data)

    async with served(_session(tmp_path)) as peer:
        calls = [await _begin(peer, _write(pb.STAT, ref="one ref", expected=digest), _write(pb.WRITE, data=data)) for _ in range(3)]
        found = []
        for call in calls:
            await peer.send(call, _write(pb.COMMIT, offset=len(data), total=len(data), expected=digest))
            found.append((await peer.finished(call))[0])

    assert found == [OK, ALREADY_EXISTS, ALREADY_EXISTS]
    assert (tmp_path / "blobs" / digest.replace(":", "/")).read_bytes() == data
    assert os.listdir(tmp_path) == ["blobs"]


@pytest.mark.parametrize("end", ["reset", "end"])
async def test_write_that_breaks_off_leaves_nothing(tmp_path: Path, end: str) -> None:
    async with served(_session(tmp_path)) as peer:
        call = await _begin(peer, _write(pb.STAT, ref="r"), _write(pb.WRITE, data=b"half"))
        assert os.listdir(tmp_path) == ["ingest"]
        if end == "reset":
            peer.h2.reset_stream(call.id)
            await peer.flush()
        else:
            peer.h2.end_stream(call.id)
            assert await peer.finished(call) == (OK, "")

    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "fields", [{"expected": _digest(b"other")}, {"total": 5}, {"expected": "sha512:" + "a" * 128}], ids=["digest", "size", "algorithm"]
)
async def test_write_of_other_bytes_than_were_announced_is_refused(tmp_path: Path, fields: dict[str, object]) -> None:
    session = _session(tmp_path)

    async with served(session) as peer:
        call = await _begin(peer, _write(pb.STAT, ref="r"), _write(pb.COMMIT, data=b"data", **fields))
        assert (await peer.finished(call))[0] == UNKNOWN

    assert isinstance(session.failure, ProtocolError)
    assert os.listdir(tmp_path) == []


async def test_write_at_offset_zero_begins_anew(tmp_path: Path) -> None:
    async with served(_session(tmp_path)) as peer:
        call = await _begin(
            peer, _write(pb.STAT, ref="r"), _write(pb.WRITE, data=b"wrong and long"), _write(pb.WRITE, offset=0, data=b"right")
        )
        await peer.send(call, _write(pb.COMMIT, offset=5, expected=_digest(b"right")))
        assert await peer.finished(call) == (OK, "")

    assert (tmp_path / "blobs" / _digest(b"right").replace(":", "/")).read_bytes() == b"right"


async def test_write_at_another_offset_is_out_of_range(tmp_path: Path) -> None:
    async with served(_session(tmp_path)) as peer:
        call = await _begin(peer, _write(pb.STAT, ref="r"), _write(pb.WRITE, data=b"abc"))
        await peer.send(call, _write(pb.WRITE, offset=7, data=b"x"))
        assert (await peer.finished(call))[0] == OUT_OF_RANGE


async def test_write_with_a_digest_of_another_algorithm_is_stored_under_it(tmp_path: Path) -> None:
    digest = f"sha512:{hashlib.sha512(b'data').hexdigest()}"

    async with served(_session(tmp_path)) as peer:
        call = await _begin(peer, _write(pb.STAT, ref="r", expected=digest), _write(pb.COMMIT, data=b"data", expected=digest, total=4))
        assert await peer.finished(call) == (OK, "")

    assert (tmp_path / "blobs" / digest.replace(":", "/")).read_bytes() == b"data"


async def test_write_to_a_store_that_is_read_only_or_without_a_ref_is_refused(tmp_path: Path) -> None:
    async with served(_session(tmp_path, read_only=True)) as peer:
        assert (await _status(peer, "Write", _write(pb.STAT, ref="r")))[0] == FAILED_PRECONDITION
    async with served(_session(tmp_path)) as peer:
        assert (await _status(peer, "Write", _write(pb.STAT)))[0] == INVALID_ARGUMENT

    assert os.listdir(tmp_path) == []


async def test_write_where_a_file_is_in_the_way_is_a_usage_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "store").touch()
    session = _session(tmp_path / "store")

    async with served(session) as peer:
        await _status(peer, "Write", _write(pb.STAT, ref="r"))

    assert isinstance(session.failure, UsageError)
    assert str(tmp_path / "store") in session.failure.message


async def test_statuses_have_what_is_being_written(tmp_path: Path) -> None:
    async with served(_session(tmp_path)) as peer:
        await _begin(peer, _write(pb.STAT, ref="a"), _write(pb.WRITE, data=b"abc"))
        one = await peer.call(f"{_SERVICE}Status", pb.StatusRequest(ref="a").SerializeToString(), headers=_HEADERS)
        assert await peer.finished(one) == (OK, "")
        every = await peer.call(f"{_SERVICE}ListStatuses", b"", headers=_HEADERS)
        assert await peer.finished(every) == (OK, "")
        assert (await _status(peer, "Status", pb.StatusRequest(ref="b").SerializeToString()))[0] == NOT_FOUND
        assert await _status(peer, "Abort", pb.AbortRequest(ref="b").SerializeToString()) == (OK, "")

    status = pb.StatusResponse.FromString(one.messages[0]).status
    assert (status.ref, status.offset) == ("a", 3)
    assert [found.ref for found in pb.ListStatusesResponse.FromString(every.messages[0]).statuses] == ["a"]
