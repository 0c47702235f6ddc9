from __future__ import annotations

from itertools import pairwise

import h2.config
import h2.connection
import pytest
from hypothesis import given
from hypothesis import strategies as some

from kubectl_build.errors import ProtocolError
from kubectl_build.session.connection import WINDOW, Connection
from kubectl_build.session.rpc import frame
from kubectl_build.session.stream import ServerStream

_HEADERS = [(":method", "POST"), (":path", "/x"), (":scheme", "http"), (":authority", "here")]


class _Calls:
    """Keeps the calls of a connection, of which there is one with the stream 1."""

    def __init__(self) -> None:
        self.calls: dict[int, ServerStream] = {}
        self.reset: list[int] = []
        self.connection = Connection(self, wake=lambda: None)

    def call_started(self, stream_id: int, stream: ServerStream) -> None:
        self.calls[stream_id] = stream

    def call_reset(self, stream_id: int) -> None:
        self.reset.append(stream_id)


def _client() -> h2.connection.H2Connection:
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    client.send_headers(1, _HEADERS)
    return client


def _raw(length: int, kind: int, flags: int, stream_id: int, body: bytes) -> bytes:
    return length.to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + body


@given(
    parts=some.lists(some.tuples(some.binary(max_size=40), some.none() | some.integers(0, 20)), max_size=8),
    cuts=some.lists(some.integers(0, 400), max_size=6),
)
async def test_data_in_frames_with_and_without_padding_arrives_in_order_however_it_is_cut(
    parts: list[tuple[bytes, int | None]], cuts: list[int]
) -> None:
    client, ours = _client(), _Calls()
    for data, padding in parts:
        client.send_data(1, frame(data), pad_length=padding)
    client.end_stream(1)
    sent = client.data_to_send()
    places = [0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]

    for start, end in pairwise(places):
        ours.connection.receive(sent[start:end])

    received = await ours.calls[1].receive() if parts else []
    assert received == [data for data, _ in parts]
    assert await ours.calls[1].receive() == []


def test_data_within_a_header_block_breaks_http2() -> None:
    client, ours = _client(), _Calls()
    ours.connection.receive(client.data_to_send())
    ours.connection.receive(_raw(1, 1, 0, 3, b"\x82"))  # HEADERS without END_HEADERS

    with pytest.raises(ProtocolError, match="broke HTTP/2"):
        ours.connection.receive(_raw(1, 0, 0, 1, b"x"))


def test_data_behind_a_reset_reaches_no_call() -> None:
    client, ours = _client(), _Calls()
    client.send_data(1, frame(b"kept"))
    data = client.data_to_send()
    client.reset_stream(1)

    ours.connection.receive(data + client.data_to_send() + _raw(1, 0, 0, 1, b"x"))

    assert ours.reset == [1]


def test_data_of_more_than_the_window_breaks_http2() -> None:
    client, ours = _client(), _Calls()
    ours.connection.receive(client.data_to_send())
    full = _raw(16384, 0, 0, 1, b"\0\0\0\0\0" + bytes(16379))

    for _ in range(WINDOW // 16384):
        ours.connection.receive(full)

    with pytest.raises(ProtocolError, match="window"):
        ours.connection.receive(full)


def test_frame_longer_than_announced_breaks_http2_before_it_is_held() -> None:
    client, ours = _client(), _Calls()
    ours.connection.receive(client.data_to_send())

    with pytest.raises(ProtocolError, match="a frame of 16385 bytes"):
        ours.connection.receive(_raw(16385, 0, 0, 1, b""))
