from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_build.proto.control_pb2 import BytesMessage
from kubectl_build.proto.fsutil_pb2 import Packet
from kubectl_build.proto.wire import bytes_head, varint


@given(st.integers(0, 2**32 - 1))
def test_varint_of_any_number_is_what_protobuf_writes(number: int) -> None:
    assert Packet(ID=number).SerializeToString() == (b"\x18" + varint(number) if number else b"")


@pytest.mark.parametrize("size", [1, 127, 128, 16383, 16384, 256 << 10])
def test_head_and_bytes_are_the_message(size: int) -> None:
    data = b"x" * size
    assert bytes_head(BytesMessage.DATA_FIELD_NUMBER, size) + data == BytesMessage(data=data).SerializeToString()
