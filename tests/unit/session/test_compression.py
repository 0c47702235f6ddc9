from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_build.model.request import CompressContext
from kubectl_build.session import session as session_module
from kubectl_build.session.compression import Compression, SendRate
from kubectl_build.session.rpc import PREFIX, Handler
from kubectl_build.session.session import HEALTH_METHOD, Session
from kubectl_build.session.stream import ServerStream
from tests.unit.session.peer import Call, PipeEnd, served

_TEXT = b"".join(b"line %d of a program: return value_%d\n" % (n, n % 97) for n in range(6000))


class _Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _rate_of(bytes_per_second: float) -> SendRate:
    clock = _Clock()
    rate = SendRate(clock)
    for _ in range(10):
        rate.begin()
        clock.now += 0.1
        rate.sent(int(bytes_per_second / 10))
    return rate


def _compression(mode: CompressContext, rate: SendRate) -> Compression:
    return Compression(mode, rate, _Clock())  # compressing takes no time on this clock: its speed stays what it is taken for at first


def _unpack(packed: Sequence[bytes]) -> tuple[bool, bytes]:
    data = b"".join(packed)
    assert int.from_bytes(data[1:PREFIX], "big") == len(data) - PREFIX
    return bool(data[0]), gzip.decompress(data[PREFIX:]) if data[0] else data[PREFIX:]


def test_rate_is_bytes_a_second_of_the_time_in_which_something_waited() -> None:
    clock = _Clock()
    rate = SendRate(clock)
    for _ in range(4):
        rate.begin()
        clock.now += 0.1
        rate.sent(100)
        rate.rest()
        clock.now += 60  # nothing to send
    assert rate.rate == pytest.approx(1000)


def test_write_size_of_a_slow_or_unknown_path_is_small_and_grows_with_the_rate() -> None:
    assert SendRate().write_size == _rate_of(125e3).write_size == 256 << 10
    assert _rate_of(40e6).write_size == pytest.approx(4e6)


def test_rate_before_enough_was_sent_is_unknown() -> None:
    clock = _Clock()
    rate = SendRate(clock)
    rate.begin()
    clock.now += 0.1
    rate.sent(1 << 20)
    assert rate.rate is None


def test_rate_of_a_path_that_becomes_slow_follows_it() -> None:
    clock = _Clock()
    rate = SendRate(clock)
    for count in (1_000_000, 1_000_000, 1_000_000, 100, 100, 100):
        rate.begin()
        clock.now += 0.3
        rate.sent(count)
    assert rate.rate == pytest.approx(100 / 0.3)


def test_rate_while_windows_are_closed_counts_the_wait() -> None:
    clock = _Clock()
    rate = SendRate(clock)
    rate.begin()
    rate.sent(1000)
    clock.now += 2  # no rest: more waits
    rate.begin()
    rate.sent(1000)
    assert rate.rate == pytest.approx(1000)


@pytest.mark.parametrize(
    ("mode", "rate", "data", "compressed"),
    [
        pytest.param(CompressContext.AUTO, 1.25e6, _TEXT, True, id="slow path, text"),
        pytest.param(CompressContext.AUTO, 1.25e6, _TEXT[:3000], True, id="slow path, short text"),
        pytest.param(CompressContext.AUTO, 1.25e6, os.urandom(100_000), False, id="slow path, random"),
        pytest.param(CompressContext.AUTO, 1.25e6, _TEXT[:100], False, id="slow path, too short"),
        pytest.param(CompressContext.AUTO, 70e6, _TEXT, False, id="fast path"),
        pytest.param(CompressContext.AUTO, 12.5e6, _TEXT, True, id="100 Mbit/s, text"),
        pytest.param(
            CompressContext.AUTO, 12.5e6, b"".join(os.urandom(30) + bytes(10) for _ in range(4000)), False, id="100 Mbit/s, little to save"
        ),
        pytest.param(CompressContext.AUTO, None, _TEXT, False, id="nothing measured"),
        pytest.param(CompressContext.ON, None, _TEXT, True, id="on, nothing measured"),
        pytest.param(CompressContext.ON, 70e6, _TEXT, True, id="on, fast path"),
        pytest.param(CompressContext.ON, 1.25e6, os.urandom(100_000), False, id="on, random"),
    ],
)
def test_message_by_path_and_data_is_compressed_where_it_pays(
    mode: CompressContext, rate: float | None, data: bytes, compressed: bool
) -> None:
    compression = _compression(mode, SendRate() if rate is None else _rate_of(rate))
    assert _unpack(compression.pack(b"head", data)) == (compressed, b"head" + data)


def test_message_on_a_machine_that_compresses_slowly_is_not_compressed() -> None:
    clock = _Clock()

    def slow() -> float:
        clock.now += 0.1  # each look at the clock is that much later: 220 KB in 0.1 s
        return clock.now

    compression = Compression(CompressContext.AUTO, _rate_of(4e6), slow)
    decided = [_unpack(compression.pack(_TEXT))[0] for _ in range(40)]
    assert decided[0]
    assert not decided[-1]


@pytest.mark.parametrize(
    ("mode", "accepted", "offered"),
    [
        (CompressContext.AUTO, ["gzip"], True),
        (CompressContext.ON, ["identity, gzip,deflate"], True),
        (CompressContext.ON, ["identity", "gzip"], True),
        (CompressContext.ON, ["identity,zstd"], False),
        (CompressContext.ON, [], False),
        (CompressContext.OFF, ["gzip"], False),
    ],
)
def test_compression_is_offered_where_the_daemon_understands_it(mode: CompressContext, accepted: list[str], offered: bool) -> None:
    assert _compression(mode, SendRate()).offered({"grpc-accept-encoding": accepted}) is offered


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=2000), st.builds(lambda part, times: part * times, st.binary(min_size=1, max_size=40), st.integers(1, 3000))
        )
    ),
    st.sampled_from(CompressContext),
    st.sampled_from([None, 1e5, 1e7, 1e9]),
)
def test_message_of_any_parts_arrives_as_it_was_and_no_longer(parts: list[bytes], mode: CompressContext, rate: float | None) -> None:
    compression = _compression(mode, SendRate() if rate is None else _rate_of(rate))
    packed = compression.pack(*parts)
    assert _unpack(packed)[1] == b"".join(parts)
    assert sum(map(len, packed)) <= PREFIX + sum(map(len, parts))


class _Service:
    """Answers with 40 messages of text."""

    def __init__(self) -> None:
        self.methods: Mapping[str, Handler] = {"/test.Service/Method": self._answer}

    async def _answer(self, stream: ServerStream) -> None:
        for _ in range(40):
            await stream.send(b"".join(stream.pack(_TEXT)))


async def _fetch(mode: CompressContext, **headers: str) -> tuple[int, Call]:
    """Call the service; return how many bytes came, and the call with its messages unpacked."""
    async with served(Session(shared_key="", attachables=[_Service()], compress=mode)) as peer:
        call = await peer.call("/test.Service/Method", b"", headers=list(headers.items()))
        assert await peer.finished(call) == (0, "")
        return peer.received, call


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Makes sending take its time on the session's clock, and on no other."""
    clock = _Clock()

    def set_rate(bytes_per_second: float) -> None:
        original = PipeEnd.send

        async def send(self: PipeEnd, data: bytes | bytearray | memoryview) -> None:
            clock.now += len(data) / bytes_per_second
            await original(self, data)

        monkeypatch.setattr(PipeEnd, "send", send)

    monkeypatch.setattr(session_module, "SendRate", lambda: SendRate(clock))
    monkeypatch.setattr(session_module, "Compression", lambda mode, rate: Compression(mode, rate, clock))
    return set_rate


@pytest.mark.parametrize(
    ("mode", "rate", "least", "most"),
    [
        pytest.param(CompressContext.AUTO, 1.25e6, 0.05, 0.5, id="auto, slow: all but the first"),
        pytest.param(CompressContext.AUTO, 100e6, 1.0, 1.01, id="auto, fast: nothing"),
        pytest.param(CompressContext.ON, 100e6, 0.05, 0.15, id="on, fast: all"),
        pytest.param(CompressContext.OFF, 1.25e6, 1.0, 1.01, id="off, slow: nothing"),
    ],
)
async def test_session_on_a_path_of_some_rate_sends_as_much_as_pays(
    mode: CompressContext, rate: float, least: float, most: float, path: Callable[[float], None]
) -> None:
    path(rate)
    received, call = await _fetch(mode, **{"grpc-accept-encoding": "gzip"})
    assert call.messages == [_TEXT] * 40
    assert least < received / len(_TEXT) / 40 < most
    assert call.headers.get("grpc-encoding") == (None if mode is CompressContext.OFF else "gzip")


async def test_session_of_a_daemon_without_gzip_compresses_nothing() -> None:
    received, call = await _fetch(CompressContext.ON)
    assert call.messages == [_TEXT] * 40
    assert received > 40 * len(_TEXT)
    assert "grpc-encoding" not in call.headers


async def test_health_of_a_daemon_with_gzip_stays_plain() -> None:
    async with served(Session(shared_key="", attachables=[], compress=CompressContext.ON)) as peer:
        call = await peer.call(HEALTH_METHOD, b"", headers=[("grpc-accept-encoding", "gzip")])
        assert await peer.finished(call) == (0, "")
        assert "grpc-encoding" not in call.headers
