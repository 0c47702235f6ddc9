from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from kubectl_build.errors import BuildError, ConnectionLost, ProtocolError
from kubectl_build.session import session as session_module
from kubectl_build.session.connection import WRITE_SIZE
from kubectl_build.session.rpc import NOT_FOUND, UNIMPLEMENTED, UNKNOWN, Handler, RpcError, frame
from kubectl_build.session.session import HEALTH_METHOD, Session
from kubectl_build.session.stream import HIGH_WATER, ServerStream
from tests.unit.session.peer import pipe_pair, served

_METHOD = "/test.Service/Method"
_SERVING = b"\x08\x01"


class _Service:
    def __init__(self, handler: Handler) -> None:
        self.methods: Mapping[str, Handler] = {_METHOD: handler}


def _session(handler: Handler) -> Session:
    return Session(shared_key="key", attachables=[_Service(handler)])


async def _echo(stream: ServerStream) -> None:
    while messages := await stream.receive():
        for message in messages:
            await stream.send(frame(message))


async def _wait_for_ever(stream: ServerStream) -> None:
    await asyncio.Event().wait()


def test_metadata_announces_id_key_and_each_method() -> None:
    session = _session(_echo)

    metadata = session.metadata()

    assert ("x-docker-expose-session-uuid", session.id) in metadata
    assert ("x-docker-expose-session-sharedkey", "key") in metadata
    assert [value for name, value in metadata if name == "x-docker-expose-session-grpc-method"] == [HEALTH_METHOD, _METHOD]
    assert len(session.id) == 25


async def test_health_when_asked_is_serving() -> None:
    async with served(_session(_echo)) as peer:
        call = await peer.call(HEALTH_METHOD, b"")

        assert await peer.finished(call) == (0, "")
        assert call.messages == [_SERVING]


async def test_call_of_an_unknown_method_is_unimplemented() -> None:
    async with served(_session(_echo)) as peer:
        code, message = await peer.finished(await peer.call("/moby.filesync.v1.Auth/FetchToken", b""))

    assert code == UNIMPLEMENTED
    assert "FetchToken" in message


@pytest.mark.parametrize("window", [20_000, 65_535, 1 << 20])
async def test_messages_of_any_size_and_number_come_back(window: int) -> None:
    """Whatever a daemon's windows are: its h2 ends the connection for a frame that is too large, and for a byte beyond a window."""
    messages = [b"", b"a", b"b" * 100_000, *(bytes([n]) * n for n in range(200)), b"c" * 3_000_000]
    async with served(_session(_echo), window=window) as peer:
        call = await peer.call(_METHOD, *messages[:100], end=False)
        for message in messages[100:]:
            await peer.send(call, message)
        peer.h2.end_stream(call.id)

        assert await peer.finished(call) == (0, "")
        assert call.messages == messages


async def test_inbound_data_beyond_all_windows_arrives() -> None:
    received = 0

    async def count(stream: ServerStream) -> None:
        nonlocal received
        while messages := await stream.receive():
            received += sum(map(len, messages))

    async with served(_session(count)) as peer:
        call = await peer.call(_METHOD, end=False)
        for _ in range(20):
            await peer.send(call, bytes(2 << 20))
        peer.h2.end_stream(call.id)
        assert await peer.finished(call) == (0, "")

    assert received == 40 << 20


async def test_error_of_a_handler_is_its_status_and_the_sessions_failure() -> None:
    async def fail(stream: ServerStream) -> None:
        raise BuildError('"ä" is wrong: 100%\n')

    session = _session(fail)
    async with served(session) as peer:
        code, message = await peer.finished(await peer.call(_METHOD))

    assert (code, message) == (UNKNOWN, '"%C3%A4" is wrong: 100%25%0A')
    assert isinstance(session.failure, BuildError)


async def test_rpc_error_of_a_handler_is_no_failure_of_the_session() -> None:
    async def fail(stream: ServerStream) -> None:
        raise RpcError(NOT_FOUND, "no such thing")

    session = _session(fail)
    async with served(session) as peer:
        assert await peer.finished(await peer.call(_METHOD)) == (NOT_FOUND, "no such thing")

    assert session.failure is None


async def test_header_list_of_many_continuation_frames_arrives_as_it_was_sent() -> None:
    lines = [f"  {number:05} {'x' * 300} " for number in range(6_000)]
    found: list[str] = []

    async def note(stream: ServerStream) -> None:
        found.extend(stream.metadata["exclude-patterns"])

    async with served(_session(note)) as peer:
        await peer.pump(lambda: peer.h2.remote_settings.max_header_list_size == 16 << 20)
        assert await peer.finished(await peer.call(_METHOD, headers=[("exclude-patterns", line) for line in lines])) == (0, "")

    assert found == lines


async def test_compressed_message_is_refused_in_words() -> None:
    async with served(_session(_echo)) as peer:
        call = await peer.call(_METHOD, end=False)
        await peer.send(call, raw=b"\x01\x00\x00\x00\x01x")
        code, message = await peer.finished(call)

    assert code == UNIMPLEMENTED
    assert "compressed" in message


async def test_health_while_bulk_data_fills_the_window_is_answered() -> None:
    async def flood(stream: ServerStream) -> None:
        while True:
            await stream.send(frame(bytes(64 << 10)))

    async with served(_session(flood)) as peer:
        peer.acknowledge = False
        bulk = await peer.call(_METHOD, end=False)
        await peer.pump(lambda: peer.received >= 60_000)
        for _ in range(5):
            call = await peer.call(HEALTH_METHOD, b"")
            assert await peer.finished(call) == (0, "")
        assert bulk.status is None
        peer.h2.reset_stream(bulk.id)
        await peer.flush()


async def test_ping_while_bulk_data_is_queued_waits_for_few_writes() -> None:
    async def flood(stream: ServerStream) -> None:
        await stream.send(frame(bytes(1 << 20)) * 32)

    async with served(_session(flood), window=64 << 20) as peer:
        peer.h2.increment_flow_control_window(64 << 20)
        bulk = await peer.call(_METHOD, end=False)
        await peer.pump(lambda: peer.received > WRITE_SIZE)
        before = peer.received
        peer.h2.ping(b"12345678")
        await peer.pump(lambda: peer.ping_answered_at)
        assert peer.ping_answered_at is not None
        assert peer.ping_answered_at - before <= 5 * WRITE_SIZE  # two in each direction of the pipe, one on its way
        await peer.finished(bulk)


async def test_handler_that_sends_without_being_read_waits() -> None:
    queued = 0

    async def flood(stream: ServerStream) -> None:
        nonlocal queued
        while True:
            await stream.send(frame(bytes(64 << 10)))
            queued += 64 << 10

    async with served(_session(flood)) as peer:
        peer.acknowledge = False
        bulk = await peer.call(_METHOD, end=False)
        for _ in range(20):
            await peer.finished(await peer.call(HEALTH_METHOD, b""))
        assert queued <= HIGH_WATER + (128 << 10)
        peer.h2.reset_stream(bulk.id)
        await peer.flush()


async def test_reset_by_the_daemon_cancels_the_handler() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(stream: ServerStream) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with served(_session(wait)) as peer:
        call = await peer.call(_METHOD, end=False)
        await started.wait()
        peer.h2.reset_stream(call.id)
        await peer.flush()
        await cancelled.wait()


async def test_end_of_the_pipe_cancels_what_is_in_progress() -> None:
    async with served(_session(_wait_for_ever)) as peer:
        await peer.call(_METHOD, end=False)


async def test_silence_of_the_daemon_is_a_lost_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECTL_BUILD_DEADLINES", "health=50ms")
    monkeypatch.setattr(session_module, "_TICK", 0.01)
    ours, _ = pipe_pair()

    with pytest.raises(ConnectionLost, match="health"):
        await _session(_echo).serve(ours)


async def test_silence_of_the_daemon_is_told_before_it_is_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECTL_BUILD_DEADLINES", "health=2s")
    monkeypatch.setattr(session_module, "_TICK", 0.01)
    ours, _ = pipe_pair()
    told: list[float] = []
    session = _session(_echo)
    session.on_silence = told.append

    with pytest.raises(ConnectionLost):
        await session.serve(ours)

    (seconds,) = told
    assert 1.2 <= seconds < 2


async def test_client_that_was_stopped_for_long_does_not_wait_for_a_daemon_that_has_given_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([100.0, 101.0, 101.0, 161.0])
    monkeypatch.setattr(session_module, "_clock", lambda: next(times))
    monkeypatch.setattr(session_module, "_TICK", 0.01)
    ours, _ = pipe_pair()

    with pytest.raises(ConnectionLost, match="was stopped for 60 s, and the builder has given it up"):
        await _session(_echo).serve(ours)


async def test_write_that_is_not_taken_is_a_lost_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECTL_BUILD_DEADLINES", "transfer=50ms")
    ours, _ = pipe_pair()
    for _ in range(2):
        await ours.send(b"fills the pipe")

    with pytest.raises(ConnectionLost, match="taken no data"):
        await _session(_echo).serve(ours)


async def test_bytes_that_are_not_http2_are_a_protocol_error() -> None:
    ours, theirs = pipe_pair()
    await theirs.send(b"HTTP/1.1 200 OK\r\n\r\n" * 4)

    with pytest.raises(ProtocolError, match="HTTP/2"):
        await _session(_echo).serve(ours)
