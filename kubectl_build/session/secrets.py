"""Secrets of the build for the daemon: moby.buildkit.secrets.v1.Secrets, by the ids of --secret.

A value is read when the daemon asks for it, handed over, and kept nowhere. Only that of a pipe or device, which can be read but
once, is remembered.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from kubectl_build.deadlines import deadlines
from kubectl_build.errors import UsageError, system_words
from kubectl_build.model.inputs import Secret
from kubectl_build.proto.secrets_pb2 import GetSecretRequest, GetSecretResponse
from kubectl_build.session.rpc import NOT_FOUND, Handler, RpcError, frame
from kubectl_build.session.stream import ServerStream
from kubectl_build.session.threads import drive, in_thread

MAX_SECRET: Final = 500 * 1024
"""Bytes that a secret may have (BuildKit, session/secrets/secretsprovider)."""

_PATIENCE: Final = 0.1
"""Seconds that a pipe is waited for at a time: how long a cancellation may take."""

_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def check_secrets(secrets: Sequence[Secret]) -> None:
    """See before the build that every secret can be had: files are there, can be opened and are not too large. Reads no value.

    Raises UsageError that names the id. A variable that is not set is an empty secret, as it is for buildx.
    """
    for secret in secrets:
        if secret.env is not None:
            _check_size(secret.id, len(os.fsencode(os.environ.get(secret.env, ""))))
        elif secret.file is not None:
            _check_file(secret.id, secret.file)


class Secrets:
    """Serves secrets by id; of two with one id the later counts. An id that it does not have is NOT_FOUND, which optional mounts take.

    A file that is no longer there, unreadable or too large when the daemon asks is a UsageError and so the session's failure.
    """

    def __init__(self, secrets: Sequence[Secret]) -> None:
        self._secrets = {secret.id: secret for secret in secrets}
        self._read: dict[str, bytes] = {}
        self._reading = asyncio.Lock()
        self.methods: Mapping[str, Handler] = {"/moby.buildkit.secrets.v1.Secrets/GetSecret": self._get_secret}

    async def _get_secret(self, stream: ServerStream) -> None:
        wanted = GetSecretRequest.FromString(await stream.receive_one()).ID
        secret = self._secrets.get(wanted)
        if secret is None:
            raise RpcError(NOT_FOUND, f"secret {wanted}: not found")
        value = await self._value(secret)
        await stream.send(frame(GetSecretResponse(data=value).SerializeToString()))

    async def _value(self, secret: Secret) -> bytes:
        if secret.env is not None or secret.file is None:
            value = os.fsencode(os.environ.get(secret.env or secret.id, ""))
        elif not await in_thread(_may_wait, secret.file):
            value = await in_thread(_read_file, secret.id, secret.file)
        else:
            async with self._reading:
                if secret.id not in self._read:
                    self._read[secret.id] = await _read_once(secret.id, secret.file)
            value = self._read[secret.id]
        _check_size(secret.id, len(value))
        return value


def _check_size(id: str, size: int) -> None:
    if size > MAX_SECRET:
        raise UsageError(f'secret "{id}" has {size} bytes, and {MAX_SECRET} (500 KiB) are the most that a secret may have')


def _check_file(id: str, path: Path) -> None:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UsageError(f'secret "{id}" cannot be read from "{path}": it is a directory')
        if stat.S_ISREG(status.st_mode):
            _check_size(id, status.st_size)
            os.close(os.open(path, _FLAGS))
    except OSError as exc:
        raise _unreadable(id, path, exc) from exc


def _may_wait(path: Path) -> bool:
    """Whether `path` is a pipe, such as a shell's <(command), or a device. A path that is not there is neither; reading it will tell."""
    return hasattr(select, "poll") and os.path.exists(path) and not os.path.isfile(path)


def _read_file(id: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_SECRET + 1)
    except OSError as exc:
        raise _unreadable(id, path, exc) from exc


async def _read_once(id: str, path: Path) -> bytes:
    """Read a pipe or device to its end, for which a writer has to come. Raises UsageError after a while."""
    value = bytearray()
    try:
        async with asyncio.timeout(deadlines().helper):
            await drive(_read_into(value, path))
    except TimeoutError as exc:
        raise UsageError(f'secret "{id}" cannot be read: "{path}" did not end within {deadlines().helper:g} s') from exc
    except OSError as exc:
        raise _unreadable(id, path, exc) from exc
    return bytes(value)


def _read_into(value: bytearray, path: Path) -> Generator[None, None, None]:
    """Append what `path` has, and yield while it has nothing. Stops beyond the size that a secret may have. Raises OSError."""
    descriptor = os.open(path, _FLAGS)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while len(value) <= MAX_SECRET:
            if poll.poll(_PATIENCE * 1000):
                with suppress(BlockingIOError):
                    data = os.read(descriptor, MAX_SECRET)
                    if not data:
                        return
                    value += data
            yield
    finally:
        os.close(descriptor)


def _unreadable(id: str, path: Path, exc: OSError) -> UsageError:
    return UsageError(f'secret "{id}" cannot be read from "{path}": {system_words(exc)}')
