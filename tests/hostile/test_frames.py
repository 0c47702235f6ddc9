"""HTTP/2 and gRPC that are none: to the session, whose server is ours, and in place of a daemon."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress

import pytest
from h2.errors import ErrorCodes

from kubectl_build.errors import ConnectionLost, ProtocolError
from kubectl_build.model.inputs import Secret
from kubectl_build.proto.secrets_pb2 import GetSecretRequest
from kubectl_build.session import DirTarget, FileSend, FileSync, FileTarget, LocalDir, Secrets, Session
from kubectl_build.session.rpc import frame
from tests.hostile.client import build
from tests.hostile.conftest import Place
from tests.hostile.daemon import Daemon, serve
from tests.unit.session.peer import Peer, PipeEnd, pipe_pair, served

_SECRET = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
_SYNC = "/moby.filesync.v1.FileSync/DiffCopy"
_SEND = "/moby.filesync.v1.FileSend/DiffCopy"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


_SETTINGS = _frame(4, 0, 0, b"")
_GREETING = _PREFACE + _SETTINGS
_BROKEN: dict[str, bytes] = {
    "nothing of HTTP/2": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "noise": bytes(range(256)) * 4,
    "no settings": _PREFACE + _frame(6, 0, 0, bytes(8)),
    "a frame longer than announced": _GREETING + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
    "data of no call": _GREETING + _frame(0, 0, 1, b"x"),
    "data of a call of ours": _GREETING + _frame(0, 0, 2, b"x"),
    "headers that cannot be decoded": _GREETING + _frame(1, 5, 1, b"\xff" * 64),
    "headers of call 0": _GREETING + _frame(1, 5, 0, b"\x82"),
    "a continuation of nothing": _GREETING + _frame(9, 4, 1, b"\x82"),
    "another frame within headers": _GREETING + _frame(1, 0, 1, b"\x82") + _frame(6, 0, 0, bytes(8)),
    "a window that opens by nothing": _GREETING + _frame(8, 0, 0, bytes(4)),
    "a window that is too large": _GREETING + _frame(8, 0, 0, b"\x7f\xff\xff\xff") * 2,
    "settings that cannot be": _GREETING + _frame(4, 0, 0, b"\x00\x05\x00\x00\x00\x01"),
    "settings cut short": _GREETING + _frame(4, 0, 0, b"\x00\x05\x00"),
    "a promise": _GREETING + _frame(5, 4, 1, bytes(4) + b"\x82"),
    "a call that goes back": _GREETING + _frame(1, 5, 3, b"\x82") + _frame(1, 5, 1, b"\x82"),
    "a ping that is too long": _GREETING + _frame(6, 0, 0, bytes(9)),
    "a reset of nothing": _GREETING + _frame(3, 0, 1, bytes(4)),
    "padding longer than the frame": _GREETING + _frame(0, 8, 1, b"\xff"),
    "a table of four gigabytes": _GREETING + _frame(4, 0, 0, b"\x00\x01\xff\xff\xff\xff") + _frame(1, 5, 1, b"\x3f\xff\xff\xff\x0f"),
}


@asynccontextmanager
async def _serving(session: Session) -> AsyncIterator[tuple[PipeEnd, asyncio.Task[None]]]:
    """Serve `session` on a pipe whose other end says what it likes; whatever comes back is dropped."""
    ours, theirs = pipe_pair()
    serving = asyncio.create_task(session.serve(ours))
    dropping = asyncio.create_task(_drop(theirs))
    try:
        yield theirs, serving
    finally:
        for task in (serving, dropping):
            task.cancel()
        await asyncio.wait([serving, dropping])


async def _drop(pipe: PipeEnd) -> None:
    while await pipe.receive():
        pass


def _session(place: Place) -> Session:
    secret = Secret(id="known", file=place.outside / "canary")
    out = FileSend({0: DirTarget(place.context / "out"), 1: FileTarget(place.context / "file.tar")})
    return Session(shared_key="", attachables=[FileSync({"context": LocalDir(place.context)}), Secrets([secret]), out])


@pytest.mark.parametrize("raw", _BROKEN.values(), ids=_BROKEN.keys())
async def test_frames_that_break_the_protocol_end_the_session_in_words(place: Place, raw: bytes) -> None:
    async with asyncio.timeout(5), _serving(_session(place)) as (pipe, serving):
        await pipe.send(raw)
        await pipe.send_eof()
        # Some of it is allowed; then the end of the pipe is all there is to tell.
        with suppress(ProtocolError):
            await serving

    assert place.untouched()


async def test_broken_frames_end_the_command_in_words(place: Place) -> None:
    async with serve(Daemon(raw_session=lambda: [_BROKEN["noise"]]), place.socket) as address:
        outcome = await build(address, place.context, ".", "--progress=plain")

    assert outcome.civil().code == 5, outcome
    assert "broke HTTP/2" in outcome.error


async def test_session_message_that_is_none_ends_the_command_in_words(place: Place) -> None:
    class Garbled(Daemon):
        async def _session(self, requests: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
            yield b"\xff\xff\xff"
            await asyncio.Event().wait()

    async with serve(Garbled(), place.socket) as address:
        outcome = await build(address, place.context, ".", "--progress=plain")

    assert outcome.civil().code == 5, outcome


_METHODS = [
    "/moby.filesync.v1.FileSync/DiffCopy",
    "/moby.filesync.v1.FileSend/DiffCopy",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.filesync.v1.Auth/FetchToken",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/moby.sshforward.v1.SSH/CheckAgent",
    "/moby.sshforward.v1.SSH/ForwardAgent",
    "/moby.upload.v1.Upload/Pull",
    "/containerd.services.content.v1.Content/Info",
    "/containerd.services.content.v1.Content/Write",
    "/grpc.health.v1.Health/Check",
    "/no/such",
    "",
    "\x00",
]
_MESSAGES = {
    "no message": frame(b"\xff\xff\xff"),
    "text that is no UTF-8": frame(b"\x0a\x02\xff\xff"),
    "compressed": b"\1\0\0\0\0",
    "longer than may be": b"\0\xff\xff\xff\xff",
    "cut short": b"\0\0\0\0\x09x",
    "none": b"",
    "two": frame(b"") * 2,
}


@pytest.mark.parametrize("raw", _MESSAGES.values(), ids=_MESSAGES.keys())
async def test_message_that_cannot_be_read_ends_its_call_alone(place: Place, raw: bytes) -> None:
    number = ("buildkit-attachable-exporter-id", "9" * 5000)
    async with served(_session(place)) as peer:
        for method in _METHODS:
            call = await peer.call(method, headers=[("dir-name", "context"), number], end=False)
            await peer.send(call, raw=raw)
            peer.h2.end_stream(call.id)
            code, _ = await peer.finished(call)
            assert code or method.endswith(("Check", "FileSend/DiffCopy")), method
        good = await peer.call(_SECRET, GetSecretRequest(ID="known").SerializeToString())
        assert await peer.finished(good) == (0, "")


async def test_daemon_that_says_goodbye_in_a_call_ends_the_session(place: Place) -> None:
    async with asyncio.timeout(10), _serving(_session(place)) as (pipe, serving):
        peer = Peer(pipe)
        await peer.call(_SYNC, headers=[("dir-name", "context")], end=False)
        peer.h2.close_connection(ErrorCodes.NO_ERROR, additional_data=b"bye")
        await peer.flush()
        await pipe.send(_frame(6, 0, 0, bytes(8)))
        await pipe.send_eof()
        with suppress(ConnectionLost):
            await serving


async def _pings(peer: Peer) -> None:
    for _ in range(400):
        await peer.pipe.send(_frame(6, 0, 0, bytes(8)) * 4096)


async def _settings(peer: Peer) -> None:
    for _ in range(200):
        await peer.pipe.send(_frame(4, 0, 0, b"\x00\x04\x00\x00\xff\xff") * 1024)


async def _resets(peer: Peer) -> None:
    for number in range(1, 20_000, 2):
        headers = peer.h2.encoder.encode([(":method", "POST"), (":path", _SYNC), (":scheme", "http"), ("dir-name", "context")])
        await peer.pipe.send(_frame(1, 4, number, headers) + _frame(3, 0, number, bytes(4)))


async def _calls(peer: Peer) -> None:
    for _ in range(1500):
        await peer.call(_SYNC, headers=[("dir-name", "context")], end=False)


async def _halves(peer: Peer) -> None:
    """Calls that never have a whole message, each as long as one may be."""
    half = memoryview(bytes(1 << 20))
    for _ in range(40):
        call = await peer.call(_SEND, headers=[("buildkit-attachable-exporter-id", "1")], end=False)
        await peer.send(call, raw=b"\0\0\xff\xff\xff")
        for _ in range(15):
            await peer.send(call, raw=bytes(half))


async def _headers(peer: Peer) -> None:
    """Calls with the longest lists of headers."""
    for _ in range(20):
        await peer.call(_SYNC, headers=[("dir-name", "context"), *[("x", "y" * 1000)] * 8000], end=False)


async def _tables(peer: Peer) -> None:
    """Headers that are small on the wire and large when they are decoded."""
    peer.h2.encoder.header_table_size = 4096
    block = peer.h2.encoder.encode([("a", "b" * 4000)])
    await peer.pipe.send(peer.h2.data_to_send())
    for number in range(1, 41, 2):
        await peer.pipe.send(_frame(1, 0, number, block if number == 1 else b"\xbe"))
        for last in range(8):
            await peer.pipe.send(_frame(9, 4 * (last == 7), number, b"\xbe" * 500))


_FLOODS: dict[str, Callable[[Peer], Coroutine[None, None, None]]] = {
    "pings": _pings,
    "settings": _settings,
    "resets": _resets,
    "calls": _calls,
    "half messages": _halves,
    "long headers": _headers,
    "headers from the table": _tables,
}


@pytest.mark.parametrize("flood", _FLOODS.values(), ids=_FLOODS.keys())
async def test_flood_is_borne_or_ends_the_session_within_bounded_memory(
    place: Place, flood: Callable[[Peer], Coroutine[None, None, None]]
) -> None:
    session = _session(place)
    gc.collect()
    tracemalloc.start()
    try:
        ours, theirs = pipe_pair()
        serving = asyncio.create_task(session.serve(ours))  # nobody takes what it answers
        with suppress(TimeoutError, Exception):
            async with asyncio.timeout(4):
                await asyncio.wait([asyncio.create_task(flood(Peer(theirs))), serving], return_when=asyncio.FIRST_COMPLETED)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        serving.cancel()
        await asyncio.wait([serving])

    assert peak < 250 << 20, f"{peak >> 20} MiB"
    assert serving.cancelled() or isinstance(serving.exception(), ConnectionLost), serving
