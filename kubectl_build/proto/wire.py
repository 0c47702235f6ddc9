"""What stands before bytes in a protobuf message, for messages that are bulk.

Measured: protobuf's own encoder takes 400 microseconds for a field of 256 KiB, joining it with its head 9.
"""

from __future__ import annotations

from typing import Final

_LENGTH_DELIMITED = 2


_SMALL: Final = tuple(bytes((value,)) for value in range(0x80))


def varint(value: int) -> bytes:
    """Return a number that is not negative as protobuf writes it."""
    if value < 0x80:
        return _SMALL[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def bytes_head(number: int, length: int) -> bytes:
    """Return what stands before `length` bytes of field `number`, which is below 16."""
    return bytes((number << 3 | _LENGTH_DELIMITED,)) + varint(length)
