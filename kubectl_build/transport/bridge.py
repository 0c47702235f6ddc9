"""A private local socket in front of a Dialer, because grpcio wants an address and not a stream."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

from kubectl_build.errors import ConfigError, ConnectionLost, KubectlBuildError, system_words
from kubectl_build.model.stream import ByteStream, Dialer
from kubectl_build.transport.sockets import SocketStream

_PATH_MAX = 100
"""Some systems allow a socket's path 104 bytes, Linux 108."""
_BUFFER = 1024 * 1024
_LAST_WORDS_SECONDS = 1.0
_PREFIX = "kubectl-build-"
_SOCKET = "grpc"
_ABANDONED_SECONDS = 60.0
"""The age from which on a socket that nobody listens at is one of a process that was killed, and not of one that is about to listen."""


class Bridge:
    """Where to connect (`target`, in gRPC's notation), and why the last stream broke (`failure`; None while none has)."""

    def __init__(self, target: str, dial: Dialer) -> None:
        self.target = target
        self.failure: KubectlBuildError | None = None
        self._dial = dial

    async def serve(self, listener: socket.socket) -> None:
        """Give each connection a stream of its own, until cancelled."""
        async with asyncio.TaskGroup() as connections:
            while True:
                sock = await _accept(listener)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
                task = connections.create_task(self._connect(SocketStream(sock, "the client")), name="bridge connection")
                # A task that is cancelled before its first step runs none of its clean-up.
                task.add_done_callback(partial(_close, sock))

    async def _connect(self, local: SocketStream) -> None:
        try:
            remote = await self._dial()
            try:
                await self._join(local, remote)
            finally:
                await remote.aclose()
        except KubectlBuildError as exc:
            self.failure = exc
        finally:
            await local.aclose()

    async def _join(self, local: ByteStream, remote: ByteStream) -> None:
        """Move bytes both ways until either end has ended: gRPC never closes one direction alone."""
        up = asyncio.create_task(_client_to_stream(local, remote), name="bridge up")
        down = asyncio.create_task(_stream_to_client(remote, local), name="bridge down")
        try:
            await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
            if up.done() and up.exception():
                await asyncio.wait([down], timeout=_LAST_WORDS_SECONDS)  # a send that failed does not know why; the other side may
            for task in (down, up):
                if task.done():
                    task.result()
        finally:
            up.cancel()
            down.cancel()
            await asyncio.wait([up, down])
            for task in (up, down):
                if not task.cancelled():
                    task.exception()  # one of the two has been told; asyncio must not complain of the other


@asynccontextmanager
async def bridge(dial: Dialer) -> AsyncIterator[Bridge]:
    """Listen on a socket that only this user can open, and pipe each connection to a stream from `dial`.

    Where there are no unix sockets it is a loopback TCP port, which other users of the machine can open while the build runs. Raises
    ConfigError where no directory can be made for the socket.
    """
    try:
        folder = tempfile.mkdtemp(prefix=_PREFIX, dir=_short_folder())
    except OSError as exc:
        raise ConfigError(f"no temporary directory can be made: {system_words(exc)}", hint="set TMPDIR") from exc
    try:
        listener, target = _listen(folder)
        with listener:
            result = Bridge(target, dial)
            serving = asyncio.create_task(result.serve(listener), name="bridge")
            try:
                yield result
            finally:
                serving.cancel()
                await asyncio.wait([serving])
                if not serving.cancelled():
                    serving.result()  # it never ends by itself
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _sweep(os.path.dirname(folder))


async def _accept(listener: socket.socket) -> socket.socket:
    """Wait for a connection and take it. Nothing is awaited once it is taken, so that a cancellation cannot lose it."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            readable = asyncio.Event()
            try:
                loop.add_reader(listener, readable.set)
            except NotImplementedError:  # event loops of Windows wait for connections, not for readiness
                return (await loop.sock_accept(listener))[0]
            try:
                await readable.wait()
            finally:
                loop.remove_reader(listener)
        else:
            sock.setblocking(False)
            return sock


def _close(sock: socket.socket, _: asyncio.Task[None]) -> None:
    sock.close()


def _listen(folder: str) -> tuple[socket.socket, str]:
    if hasattr(socket, "AF_UNIX"):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = os.path.join(folder, _SOCKET)
        listener.bind(path)
        target = f"unix:{path}"
    else:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(("127.0.0.1", 0))
        target = f"ipv4:127.0.0.1:{listener.getsockname()[1]}"
    listener.listen()
    listener.setblocking(False)
    return listener, target


def _short_folder() -> str | None:
    longest = len(os.fsencode(os.path.join(tempfile.gettempdir(), f"{_PREFIX}12345678", _SOCKET)))
    return None if longest <= _PATH_MAX else "/tmp"


def _sweep(parent: str) -> None:
    """Remove the directories that killed processes of this user have left: no clean-up of theirs has run (kill -9, out of memory)."""
    if not hasattr(socket, "AF_UNIX"):
        return
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX):
                with suppress(OSError):
                    if _abandoned(entry):
                        shutil.rmtree(entry.path, ignore_errors=True)


def _abandoned(entry: os.DirEntry[str]) -> bool:
    status = entry.stat(follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or time.time() - status.st_mtime < _ABANDONED_SECONDS:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(os.path.join(entry.path, _SOCKET)) == errno.ECONNREFUSED


async def _client_to_stream(local: ByteStream, remote: ByteStream) -> None:
    while data := await _from_client(local):
        await remote.send(data)
    await remote.send_eof()


async def _stream_to_client(remote: ByteStream, local: ByteStream) -> None:
    while data := await remote.receive():
        try:
            await local.send(data)
        except ConnectionLost:
            return  # the client has gone, which is its right
    raise ConnectionLost("the builder ended the connection")


async def _from_client(local: ByteStream) -> bytes:
    try:
        return await local.receive()
    except ConnectionLost:
        return b""
