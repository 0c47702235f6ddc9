"""The protocol of ssh agents, as far as one must read it to let only reading requests pass (draft-miller-ssh-agent). No I/O.

Each message is a length of four bytes (big-endian), then that many bytes, the first of which is its type.
"""

from __future__ import annotations

from typing import Final

from kubectl_build.errors import ProtocolError

REQUEST_IDENTITIES: Final = 11
SIGN_REQUEST: Final = 13

FAILURE: Final = b"\x00\x00\x00\x01\x05"
"""SSH_AGENT_FAILURE, whole: the answer to what is refused."""

MAX_MESSAGE: Final = 256 << 10
"""Longest message taken, in bytes without its length; OpenSSH's limit too."""

_LENGTH: Final = 4


def may_pass(message: bytes) -> bool:
    """Whether a request (whole, with its length) only lists keys or signs: BuildKit forwards nothing else (sshprovider, readOnlyAgent).

    Adding, removing and locking keys and extensions would change the user's agent, or do what nobody here knows.
    """
    return message[_LENGTH : _LENGTH + 1] in (bytes([REQUEST_IDENTITIES]), bytes([SIGN_REQUEST]))


class MessageCutter:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Add bytes and return the messages that are complete now, each with its length.

        Raises ProtocolError for a message that is empty or too long, after which the stream cannot be read any more.
        """
        self._buffer += data
        found = []
        while len(self._buffer) >= _LENGTH:
            size = int.from_bytes(self._buffer[:_LENGTH], "big")
            if not 1 <= size <= MAX_MESSAGE:
                raise ProtocolError(f"a message of an ssh agent's protocol has {size} bytes; 1 to {MAX_MESSAGE} are possible")
            if len(self._buffer) < _LENGTH + size:
                break
            found.append(bytes(self._buffer[: _LENGTH + size]))
            del self._buffer[: _LENGTH + size]
        return found
