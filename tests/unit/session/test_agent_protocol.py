from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_build.errors import ProtocolError
from kubectl_build.session.agent_protocol import FAILURE, MAX_MESSAGE, MessageCutter, may_pass


def _message(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.lists(st.integers(0, 300), max_size=10))
def test_message_cutter_finds_the_messages_however_they_arrive(bodies: list[bytes], cuts: list[int]) -> None:
    messages = [_message(body) for body in bodies]
    stream = b"".join(messages)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    cutter = MessageCutter()

    found = [message for start, end in pairwise(places) for message in cutter.feed(stream[start:end])]

    assert found == messages


def test_message_cutter_takes_the_longest_message() -> None:
    message = _message(bytes(MAX_MESSAGE))
    assert MessageCutter().feed(message) == [message]


@pytest.mark.parametrize("size", [0, MAX_MESSAGE + 1, 2**32 - 1])
def test_message_cutter_of_an_impossible_length_raises(size: int) -> None:
    with pytest.raises(ProtocolError, match=str(size)):
        MessageCutter().feed(size.to_bytes(4, "big"))


def test_may_pass_lets_only_listing_and_signing_through() -> None:
    assert [type_ for type_ in range(256) if may_pass(_message(bytes([type_]) + b"rest"))] == [11, 13]


def test_failure_is_a_whole_message() -> None:
    assert MessageCutter().feed(FAILURE) == [FAILURE]
