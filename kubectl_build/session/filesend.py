"""Results that the daemon sends to the client: moby.filesync.v1.FileSend.

One method carries two things, told apart by the exporter's number: the bytes of a file (tar, oci, docker), or a directory in fsutil's
packets with us as the receiver (local).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from kubectl_build.errors import UsageError
from kubectl_build.fsutil import packets
from kubectl_build.fsutil.receive import Receiver, remove_others
from kubectl_build.proto.control_pb2 import BytesMessage
from kubectl_build.proto.fsutil_pb2 import Packet
from kubectl_build.session.outputfile import OutputFile
from kubectl_build.session.rpc import ALREADY_EXISTS, INTERNAL, NOT_FOUND, UNKNOWN, Handler, RpcError, frame, frame_all
from kubectl_build.session.stream import ServerStream
from kubectl_build.session.threads import drive, in_thread
from kubectl_build.values import dataclass

_EXPORTER_ID: Final = "buildkit-attachable-exporter-id"
_WHOLE: Final = "buildkit-exporter-multi-platform"
_METADATA: Final = "exporter-md-"


@dataclass(frozen=True, slots=True)
class FileTarget:
    """A file for the exporter's bytes, or an open file descriptor, which stays the caller's.

    A file appears whole or not at all: it is written beside its place and then renamed, and directories that are missing are made. A pipe
    or device that exists is written to. `shown` is what errors call it, where `dest` is a name that the user did not give.
    """

    dest: str | Path | int
    shown: str = ""


@dataclass(frozen=True, slots=True)
class DirTarget:
    """A directory that the exported tree is merged into; it is made when it is missing. The daemon makes a directory for each platform.

    With `mirror` (mode=delete) what is not in the result is removed once all of it has come. `seen` is for a directory that several daemons
    fill: it gets the paths that came, and nothing is removed; who has them all calls fsutil.receive.remove_others. `ready` is awaited
    before the directory is touched.
    """

    path: str | Path
    mirror: bool = False
    seen: set[str] | None = None
    ready: Callable[[], Awaitable[None]] | None = None


ExportTarget = FileTarget | DirTarget


class FileSend:
    """Serves export targets by the exporter's index in the solve request. `completed` has those that were received whole.

    `metadata` has what an oci or docker exporter said of its file: keys of the exporter response. `irrevocable` tells that an open file
    descriptor has been written to: what is in a pipe cannot be taken back for another try.
    """

    def __init__(self, targets: Mapping[int, ExportTarget]) -> None:
        self._targets = dict(targets)
        self.completed: set[int] = set()
        self.metadata: dict[int, dict[str, str]] = {}
        self.irrevocable = False
        self.methods: Mapping[str, Handler] = {"/moby.filesync.v1.FileSend/DiffCopy": self._diff_copy}

    async def _diff_copy(self, stream: ServerStream) -> None:
        values = stream.metadata.get(_EXPORTER_ID, ())
        number = int(values[0]) if values and values[0].isdecimal() and len(values[0]) < 10 else 0
        match self._targets.get(number):
            case FileTarget() as file:
                if number in self.completed:
                    # For oci and docker the daemon takes this for success. Nothing may follow what is in a pipe already.
                    raise RpcError(ALREADY_EXISTS, f"the output of exporter {number} has already been received")
                self.irrevocable |= isinstance(file.dest, int)
                self.metadata[number] = {
                    name.removeprefix(_METADATA): ",".join(said) for name, said in stream.metadata.items() if name.startswith(_METADATA)
                }
                await _receive_file(stream, file)
            case DirTarget() as target:
                if target.mirror and "1" not in stream.metadata.get(_WHOLE, ()):
                    raise UsageError(
                        "output mode=delete needs a builder that sends all platforms at once, and this one is too old for that",
                        hint="use mode=copy, or a newer image for the builder",
                    )
                await _receive_directory(stream, target)
            case None:
                raise RpcError(NOT_FOUND, f"this client has no place for the output of exporter {number}")
        self.completed.add(number)


async def _receive_file(stream: ServerStream, file: FileTarget) -> None:
    output = OutputFile(file.dest, shown=file.shown)
    try:
        await drive(output.open())
        while messages := await stream.receive():
            await drive(output.write([BytesMessage.FromString(message).data for message in messages]))
        await in_thread(output.commit)
    finally:
        output.close()


async def _receive_directory(stream: ServerStream, target: DirTarget) -> None:
    if target.ready is not None:
        await target.ready()
    receiver = Receiver(str(target.path), remember=target.mirror or target.seen is not None)
    try:
        await in_thread(receiver.open)
        while messages := await stream.receive():
            arrived = [Packet.FromString(message) for message in messages]
            for packet in arrived:
                if packet.type == packets.ERR:
                    raise RpcError(UNKNOWN, f"error from sender: {packet.data.decode('utf-8', 'replace')}")
            wanted = await in_thread(receiver.take, arrived)
            await stream.send(frame_all(packets.encode_request(file_id) for file_id in wanted))
            if receiver.complete:
                await in_thread(receiver.finish)
                await in_thread(_settle, receiver, target)
                await stream.send(frame(packets.FINISHED))
                break
        else:
            raise RpcError(INTERNAL, "the transfer ended before everything was received")
        while await stream.receive():  # the daemon's own FIN
            pass
    finally:
        await in_thread(receiver.close)


def _settle(receiver: Receiver, target: DirTarget) -> None:
    """Remove what is not in the result, or leave that to whoever knows the other parts."""
    if target.seen is not None:
        target.seen.update(receiver.paths)
    elif target.mirror:
        remove_others(str(target.path), receiver.paths)
