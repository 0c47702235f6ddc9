from __future__ import annotations

import json
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_build.cluster.channels import STDERR_TAIL, V4, V5, ExecChannels, ExecStatus, close_message, stdin_message
from kubectl_build.errors import ProtocolError


def _pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(edges)]


@given(
    stdout=st.binary(max_size=400),
    stderr=st.binary(max_size=400),
    cuts=st.lists(st.integers(min_value=0), max_size=12),
    code=st.integers(min_value=0, max_value=255),
    order=st.randoms(use_true_random=False),
)
def test_channels_split_and_interleaved_anyhow_give_the_same(
    stdout: bytes, stderr: bytes, cuts: list[int], code: int, order: random.Random
) -> None:
    status = json.dumps(_status(code) | {"fill": "ä" * 20}, ensure_ascii=False).encode()
    queues = [
        [bytes([channel]) + piece for piece in _pieces(data, cuts)] + [bytes([channel])]  # an empty message is legal anywhere
        for channel, data in ((1, stdout), (2, stderr), (3, status))
    ]
    channels = ExecChannels(V5)
    received = b""
    while any(queues):
        queue = order.choice([queue for queue in queues if queue])
        received += channels.feed(queue.pop(0))

    assert received == stdout
    assert channels.stderr == stderr
    assert channels.finish() is channels.status
    assert channels.status is not None
    assert channels.status.exit_code == code


def _status(code: int) -> dict[str, object]:
    if code == 0:
        return {"status": "Success"}
    causes = [{"reason": "Other", "message": "x"}, {"reason": "ExitCode", "message": str(code)}]
    return {"status": "Failure", "reason": "NonZeroExitCode", "message": f"exit status {code}", "details": {"causes": causes}}


def test_channels_stderr_keeps_only_its_end() -> None:
    channels = ExecChannels(V4)
    for number in range(200):
        channels.feed(b"\x02" + bytes([number]) * 1000)

    assert len(channels.stderr) == STDERR_TAIL
    assert channels.stderr.endswith(bytes([199]) * 1000)


def test_channels_failure_without_exit_code_keeps_the_servers_words() -> None:
    channels = ExecChannels(V4)
    channels.feed(b'\x03{"status":"Failure","reason":"InternalError","message":"container not found (\\"x\\")","code":500}')

    assert channels.status == ExecStatus(exit_code=None, message='container not found ("x")', reason="InternalError")
    assert not channels.status.succeeded


def test_channels_status_that_is_no_json_is_a_failure_with_its_text() -> None:
    channels = ExecChannels(V4)
    channels.feed(b"\x03something went wrong\n")

    assert channels.status is None
    assert channels.finish() == ExecStatus(exit_code=None, message="something went wrong")


@pytest.mark.parametrize("causes", [None, [], "x", [{"reason": "ExitCode", "message": "many"}], [None]])
def test_channels_status_with_odd_details_is_a_failure_without_code(causes: object) -> None:
    document = {"status": "Failure", "reason": "NonZeroExitCode", "message": "m", "details": {"causes": causes}}
    channels = ExecChannels(V5)
    channels.feed(b"\x03" + json.dumps(document).encode())

    assert channels.status == ExecStatus(exit_code=None, message="m", reason="NonZeroExitCode")


def test_channels_unknown_channel_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError, match="unknown channel 9"):
        ExecChannels(V5).feed(b"\x09x")


def test_channels_close_of_a_servers_channel_and_empty_message_say_nothing() -> None:
    channels = ExecChannels(V5)

    assert channels.feed(b"\xff\x01") == b""
    assert channels.feed(b"") == b""
    assert channels.finish() is None


def test_messages_to_the_server_have_the_bytes_of_the_protocol() -> None:
    assert stdin_message(memoryview(b"abc")) == b"\x00abc"
    assert close_message(0) == b"\xff\x00"
    assert ExecChannels(V5).can_close_stdin
    assert not ExecChannels(V4).can_close_stdin
