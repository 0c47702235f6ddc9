"""Byte streams over this machine's sockets: unix paths and TCP."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from kubectl_build.deadlines import deadlines
from kubectl_build.errors import ConnectionLost, DialError
from kubectl_build.model.stream import ByteStream, Dialer

CHUNK = 256 * 1024
"""How much is taken from a socket at once: large enough that Python's cost for a chunk does not count."""


class SocketStream:
    """A ByteStream on a connected socket, which it owns. `where` is the peer in messages.

    Plain socket calls instead of asyncio's transports: whole buffers come and go without a copy, and none but the kernel's are in between.
    """

    def __init__(self, sock: socket.socket, where: str) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._where = where
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._calls = 0

    async def receive(self) -> bytes:
        with self._call():
            data = await self._loop.sock_recv(self._socket, CHUNK)
        self._check()
        return data

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        with self._call():
            await self._loop.sock_sendall(self._socket, data)

    async def send_eof(self) -> None:
        with self._call():
            self._socket.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        # Closing a socket that the loop watches would leave its reader waiting for ever; shutting it down wakes the calls, and the last
        # of them closes it.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if not self._calls:
            self._socket.close()

    @contextmanager
    def _call(self) -> Iterator[None]:
        self._check()
        self._calls += 1
        try:
            yield
        except OSError as exc:
            self._check()
            raise ConnectionLost(f"the connection to {self._where} was lost: {words(exc)}") from exc
        finally:
            self._calls -= 1
            if self._closed and not self._calls:
                self._socket.close()

    def _check(self) -> None:
        if self._closed:
            raise ConnectionLost(f"the connection to {self._where} is closed")


def unix_dialer(path: str) -> Dialer:
    """Dial a unix socket of this machine."""

    async def dial() -> ByteStream:
        return SocketStream(await _connect(socket.AF_UNIX, path, path), path)

    return dial


def tcp_direct_dialer(host: str, port: int) -> Dialer:
    """Dial host:port from this machine, each of its addresses in turn."""

    async def dial() -> ByteStream:
        return SocketStream(await connected_socket(host, port), f"{host}:{port}")

    return dial


async def connected_socket(host: str, port: int) -> socket.socket:
    """Connect to host:port, trying each of its addresses in turn. Raises DialError. The caller owns the socket, which does not block."""
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(deadlines().connect):
            addresses = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError) as exc:  # the last for a name with an empty or too long part
        raise DialError(f'cannot connect to {where}: the name "{host}" is not known ({words(exc)})') from exc
    failure: DialError | None = None
    for family, _, _, _, address in addresses:
        try:
            return await _connect(family, address, where)
        except DialError as exc:
            failure = failure or exc
    raise failure or DialError(f"cannot connect to {where}: it has no address")


async def _connect(family: int, address: str | tuple[Any, ...], where: str) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if not isinstance(address, str):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.timeout(deadlines().connect):
            await asyncio.get_running_loop().sock_connect(sock, address)
    except (OSError, TimeoutError) as exc:
        sock.close()
        raise DialError(f"cannot connect to {where}: {words(exc)}") from exc
    except BaseException:
        sock.close()
        raise
    return sock


def words(exc: Exception) -> str:
    """Why a connection failed, for the end of a message."""
    if isinstance(exc, TimeoutError) and not exc.args:
        return f"no answer within {deadlines().connect:g} s"
    if isinstance(exc, socket.gaierror):
        return str(exc.strerror).lower()
    return (os.strerror(exc.errno) if isinstance(exc, OSError) and exc.errno else str(exc)).lower()
