"""gRPC over HTTP/2 as far as a session needs it: statuses, length-prefixed messages, metadata."""

from __future__ import annotations

import struct
import urllib.parse
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from kubectl_build.model.gobool import parse_bool

if TYPE_CHECKING:
    from kubectl_build.session.stream import ServerStream

OK: Final = 0
UNKNOWN: Final = 2
INVALID_ARGUMENT: Final = 3
NOT_FOUND: Final = 5
ALREADY_EXISTS: Final = 6
PERMISSION_DENIED: Final = 7
RESOURCE_EXHAUSTED: Final = 8
FAILED_PRECONDITION: Final = 9
OUT_OF_RANGE: Final = 11
UNIMPLEMENTED: Final = 12
INTERNAL: Final = 13

MAX_MESSAGE: Final = 16 << 20
"""Longest message taken, in bytes. The daemon cuts files at 3 MiB, and at 8 MiB (without what stands around the data) what it stores."""

PREFIX: Final = 5
_PREFIX: Final = struct.Struct(">BI")

_LONGEST_WORDS: Final = 8 << 10
"""Characters of a status message that are sent: it may quote what the daemon said, and headers have a limit."""

Metadata = Mapping[str, Sequence[str]]
"""A call's headers: lower-case names, values in order. Bytes that are not UTF-8 are surrogate-escaped."""

Handler = Callable[["ServerStream"], Awaitable[None]]


class RpcError(Exception):
    """A gRPC status that a handler answers with. It is part of the protocol and never shown to the user by itself."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Attachable(Protocol):
    """A service of the session."""

    @property
    def methods(self) -> Mapping[str, Handler]:
        """Full method names ("/package.Service/Method") and what answers them. A handler that returns has answered OK."""


def prefix(length: int, *, compressed: bool = False) -> bytes:
    """Return what stands before a message of `length` bytes: whether these are compressed, and the length."""
    return _PREFIX.pack(compressed, length)


def frame(message: bytes) -> bytes:
    """Put the prefix before one message."""
    return prefix(len(message)) + message


def frame_all(messages: Iterable[bytes]) -> bytes:
    """Join many messages, each with its prefix, into one buffer."""
    return b"".join([_PREFIX.pack(0, len(message)) + message for message in messages])


class MessageReader:
    """Cuts a byte stream into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Add bytes as they come."""
        self._buffer += data

    @property
    def pending(self) -> int:
        """Bytes held that are not yet taken."""
        return len(self._buffer)

    def take(self) -> list[bytes]:
        """Return the complete messages. Raises RpcError for a compressed message or one that is too long."""
        buffer = self._buffer
        messages: list[bytes] = []
        start, size = 0, len(buffer)
        while size - start >= PREFIX:
            length = int.from_bytes(buffer[start + 1 : start + PREFIX], "big")
            if buffer[start]:
                raise RpcError(UNIMPLEMENTED, "the message is compressed, although this client announced no compression")
            if length > MAX_MESSAGE:
                raise RpcError(RESOURCE_EXHAUSTED, f"the message has {length} bytes, more than the {MAX_MESSAGE} that this client takes")
            end = start + PREFIX + length
            if end > size:
                break
            messages.append(bytes(buffer[start + PREFIX : end]))
            start = end
        if start:
            del buffer[:start]
        return messages


def metadata_of(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, list[str]]:
    """Collect a request's headers, pseudo-headers included, values with their blanks as they came."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.decode("ascii", "replace"), []).append(value.decode("utf-8", "surrogateescape"))
    return found


def unescape(metadata: Metadata, key: str) -> list[str]:
    """Return the values of `key`; where `<key>-encoded` is true they are URL-query-escaped (BuildKit, filesync.go, decodeOpts)."""
    values = list(metadata.get(key, ()))
    encoded = metadata.get(f"{key}-encoded", ())
    if encoded and parse_bool(encoded[0]):
        return [urllib.parse.unquote_plus(value, errors="surrogateescape") for value in values]
    return values


def response_headers(*, gzip: bool = False) -> list[tuple[str, str]]:
    """The headers with which every answer begins. With `gzip` its messages may be compressed."""
    headers = [(":status", "200"), ("content-type", "application/grpc")]
    return [*headers, ("grpc-encoding", "gzip")] if gzip else headers


def trailers(code: int, message: str) -> list[tuple[str, str]]:
    """The headers with which every answer ends; `message` is percent-encoded as gRPC wants it."""
    result = [("grpc-status", str(code))]
    if message := message[:_LONGEST_WORDS].strip(" "):  # blanks at its ends would break HTTP/2
        escaped = urllib.parse.quote(message, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~", errors="surrogateescape")
        result.append(("grpc-message", escaped))
    return result
