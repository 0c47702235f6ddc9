"""From a daemon's address to a way to it."""

from __future__ import annotations

import asyncio

from kubectl_build.deadlines import deadlines
from kubectl_build.errors import ConnectionLost, DialError
from kubectl_build.model.stream import ByteStream, Dialer
from kubectl_build.transport.addresses import TcpAddress, UnixAddress
from kubectl_build.transport.sockets import tcp_direct_dialer, unix_dialer

_FRAME_HEADER = 9
_SETTINGS = 4
_TLS_ALERT = 0x15


def address_dialer(address: UnixAddress | TcpAddress) -> Dialer:
    """Dial the daemon at `address`. Certificate files are read at once: raises UsageError.

    The streams check that HTTP/2 is spoken at the other end: their first `receive` raises DialError for a peer that is silent for 15 s, or
    answers something else. (A peer need not speak before it is asked, so that a proxy may stand in front of the daemon.)
    """
    if isinstance(address, UnixAddress):
        dial = unix_dialer(address.path)
    elif address.tls is None:
        dial = tcp_direct_dialer(address.host, address.port)
    else:
        from kubectl_build.transport.tls import tls_dialer  # most addresses need no ssl

        dial = tls_dialer(address.host, address.port, address.tls)
    plain = isinstance(address, TcpAddress) and address.tls is None

    async def checked() -> ByteStream:
        return _Http2Stream(await dial(), str(address), plain=plain)

    return checked


class _Http2Stream:
    """A ByteStream whose peer has to begin as an HTTP/2 server does: with a SETTINGS frame."""

    def __init__(self, stream: ByteStream, where: str, *, plain: bool) -> None:
        self._stream = stream
        self._where = where
        self._hint = "a daemon that listens with TLS is tcp://HOST:PORT?cacert=FILE&cert=FILE&key=FILE" if plain else None
        self._begun = False

    async def receive(self) -> bytes:
        if self._begun:
            return await self._stream.receive()
        try:
            async with asyncio.timeout(deadlines().answer):
                data = await self._first_frame()
        except TimeoutError as exc:
            raise DialError(f"{self._where} took the connection, but did not answer within {deadlines().answer:g} s") from exc
        self._begun = True
        return data

    async def _first_frame(self) -> bytes:
        data = b""
        while len(data) < _FRAME_HEADER:
            try:
                more = await self._stream.receive()
            except DialError:
                raise
            except ConnectionLost as exc:
                raise DialError(f"{self._where} broke the connection before it answered: {exc.message}", hint=self._hint) from exc
            if not more:
                break
            data += more
        if not data:
            raise DialError(f"{self._where} ended the connection without an answer", hint=self._hint)
        if data[0] == _TLS_ALERT:
            raise self._stranger("it wants TLS")
        if len(data) < _FRAME_HEADER or data[3] != _SETTINGS or any(data[5:_FRAME_HEADER]):
            raise self._stranger("it does not speak HTTP/2")
        return data

    def _stranger(self, why: str) -> DialError:
        error = DialError(f"what listens at {self._where} is no BuildKit daemon: {why}", hint=self._hint)
        error.transient = False
        return error

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send(data)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()
