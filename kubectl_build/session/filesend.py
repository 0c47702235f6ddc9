"""Results that the daemon sends to the client: moby.filesync.v1.FileSend.

One method carries two things, told apart by the exporter's number: the bytes of a file (tar, oci, docker), or a directory in fsutil's
packets with us as the receiver (local).
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kubectl_build.errors import UsageError
from kubectl_build.fsutil import packets
from kubectl_build.fsutil.receive import Receiver
from kubectl_build.proto.control_pb2 import BytesMessage
from kubectl_build.proto.fsutil_pb2 import Packet
from kubectl_build.session.rpc import INTERNAL, NOT_FOUND, UNKNOWN, Handler, RpcError, frame, frame_all
from kubectl_build.session.stream import ServerStream
from kubectl_build.session.threads import in_thread

_EXPORTER_ID: Final = "buildkit-attachable-exporter-id"


@dataclass(frozen=True, slots=True)
class FileTarget:
    """A file for the exporter's bytes, or an open file descriptor, which stays the caller's.

    A file appears whole or not at all: it is written beside its place and then renamed. A pipe or device that exists is written to.
    """

    dest: str | Path | int


@dataclass(frozen=True, slots=True)
class DirTarget:
    """A directory that the exported tree is merged into; it is made when it is missing. The daemon makes a directory for each platform."""

    path: str | Path


ExportTarget = FileTarget | DirTarget


class FileSend:
    """Serves export targets by the exporter's index in the solve request. `completed` has those that were received whole.

    `irrevocable` tells that an open file descriptor has been written to: what is in a pipe cannot be taken back for another try.
    """

    def __init__(self, targets: Mapping[int, ExportTarget]) -> None:
        self._targets = dict(targets)
        self.completed: set[int] = set()
        self.irrevocable = False
        self.methods: Mapping[str, Handler] = {"/moby.filesync.v1.FileSend/DiffCopy": self._diff_copy}

    async def _diff_copy(self, stream: ServerStream) -> None:
        values = stream.metadata.get(_EXPORTER_ID, ())
        number = int(values[0]) if values and values[0].isdecimal() else 0
        match self._targets.get(number):
            case FileTarget(dest):
                self.irrevocable |= isinstance(dest, int)
                await _receive_file(stream, dest)
            case DirTarget(path):
                await _receive_directory(stream, str(path))
            case None:
                raise RpcError(NOT_FOUND, f"this client has no place for the output of exporter {number}")
        self.completed.add(number)


async def _receive_file(stream: ServerStream, dest: str | Path | int) -> None:
    output = await in_thread(_Output, dest)
    try:
        while messages := await stream.receive():
            await in_thread(output.write, [BytesMessage.FromString(message).data for message in messages])
        await in_thread(output.commit)
    finally:
        output.close()


class _Output:
    """Where a FileTarget's bytes go. Every OSError becomes a UsageError that names the file."""

    def __init__(self, dest: str | Path | int) -> None:
        self._temporary = ""
        self._owned = not isinstance(dest, int)
        self._dest = dest
        if isinstance(dest, int):
            self._descriptor = dest
            return
        path = os.path.realpath(dest)
        try:
            if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
                self._descriptor = os.open(path, os.O_WRONLY)
                return
            self._temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)[:200]}.{secrets.token_hex(4)}.part")
            self._descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except OSError as exc:
            self._temporary = ""
            self._owned = False
            raise self._failed(exc) from exc

    def write(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            left = memoryview(piece)
            while left:
                try:
                    left = left[os.write(self._descriptor, left) :]
                except OSError as exc:
                    raise self._failed(exc) from exc

    def commit(self) -> None:
        """Put the file in its place."""
        if self._temporary and not isinstance(self._dest, int):
            try:
                os.replace(self._temporary, os.path.realpath(self._dest))
            except OSError as exc:
                raise self._failed(exc) from exc
            self._temporary = ""

    def close(self) -> None:
        """Close, and remove what was not put in its place."""
        if self._owned:
            os.close(self._descriptor)
        if self._temporary:
            os.unlink(self._temporary)

    def _failed(self, exc: OSError) -> UsageError:
        where = "stdout" if self._dest == 1 else f'"{self._dest}"'
        return UsageError(f"output {where} cannot be written: {(exc.strerror or 'unknown error').lower()}")


async def _receive_directory(stream: ServerStream, path: str) -> None:
    receiver = await in_thread(Receiver, path)
    try:
        while messages := await stream.receive():
            arrived = [Packet.FromString(message) for message in messages]
            for packet in arrived:
                if packet.type == packets.ERR:
                    raise RpcError(UNKNOWN, f"error from sender: {packet.data.decode('utf-8', 'replace')}")
            wanted = await in_thread(receiver.take, arrived)
            await stream.send(frame_all(packets.encode_request(file_id) for file_id in wanted))
            if receiver.complete:
                await in_thread(receiver.finish)
                await stream.send(frame(packets.FINISHED))
                break
        else:
            raise RpcError(INTERNAL, "the transfer ended before everything was received")
        while await stream.receive():  # the daemon's own FIN
            pass
    finally:
        await in_thread(receiver.close)
