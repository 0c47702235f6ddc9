"""Cuts what arrives in a session into HTTP/2's frames, so that those of which there are most need not go through h2.

h2 takes some 20 microseconds for a frame, and the daemon asks for each file of a context in a frame of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final

from kubectl_build.errors import ProtocolError

LONGEST: Final = 16384
"""Bytes in a frame: we announce no other limit than that of RFC 9113, 4.2."""

_PREFACE: Final = 24
"""Bytes that a client sends before its first frame (RFC 9113, 3.4)."""

_HEAD: Final = struct.Struct(">IBI")
"""Length in 24 bits and type in 8, flags, stream (RFC 9113, 4.1). A DATA frame's type is 0."""


class FrameCutter:
    """Holds back what is not yet a whole frame."""

    def __init__(self, readable: Callable[[int], bool]) -> None:
        """`readable` tells whether a stream is one on which the other side may send data now."""
        self._readable = readable
        self._preface = _PREFACE
        self._held = b""

    def cut(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the stream and the data of each DATA frame without flags on a readable stream, 0 and the whole of any other frame.

        Each is to be dealt with before the next is taken. Raises ProtocolError for a frame that is too long.
        """
        if self._preface:
            yield 0, data[: self._preface]
            data, self._preface = data[self._preface :], max(0, self._preface - len(data))
        held = self._held + data if self._held else data
        start, size = 0, len(held)
        while size - start >= _HEAD.size:
            head, flags, stream_id = _HEAD.unpack_from(held, start)
            length = head >> 8
            if length > LONGEST:
                raise ProtocolError(f"the builder's daemon broke HTTP/2 in the session: a frame of {length} bytes")
            end = start + _HEAD.size + length
            if end > size:
                break
            if not head & 0xFF and not flags and self._readable(stream_id):
                yield stream_id, held[start + _HEAD.size : end]
            else:
                yield 0, held[start:end]
            start = end
        self._held = held[start:]
