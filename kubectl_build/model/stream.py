"""A duplex stream of bytes, whatever carries it."""

from __future__ import annotations

from typing import Protocol


class ByteStream(Protocol):
    """Bytes both ways. One task may receive while another sends; neither call may be used by two tasks at once.

    A stream is ready when its maker returns it. After `aclose` every call raises ConnectionLost. Cancelling a `send` leaves the stream
    unusable.
    """

    async def receive(self) -> bytes:
        """Return the next bytes, of any length above zero, or b"" when the peer has ended its side.

        Raises ConnectionLost when the stream broke before the peer ended it.
        """

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Hand over all of `data`, waiting while the peer does not take it. Raises ConnectionLost."""

    async def send_eof(self) -> None:
        """End our side, where the carrier can; else do nothing."""

    async def aclose(self) -> None:
        """Release everything. Idempotent; never raises."""


class Dialer(Protocol):
    """Makes streams to one fixed address (a pod's daemon, a socket, a registry behind a pod)."""

    async def __call__(self) -> ByteStream:
        """Open one more stream. Raises DialError. The caller owns the stream."""
