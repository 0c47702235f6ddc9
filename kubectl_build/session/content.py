"""Directories with OCI layouts for the daemon: containerd.services.content.v1.Content.

The daemon names the directory in each call's metadata: "local:<path>" is a cache, "oci:<id>" a context, "export" an output with tar=false.
It asks about blobs, reads and writes them; Update, List and Delete it never calls here, and they are not served. File work is in threads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from kubectl_build.layout.store import CHUNK, BlobInfo, BlobWriter, LayoutStore
from kubectl_build.model.digest import is_digest
from kubectl_build.proto import content_pb2 as pb
from kubectl_build.session.rpc import (
    ALREADY_EXISTS,
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NOT_FOUND,
    OUT_OF_RANGE,
    Handler,
    RpcError,
    frame,
)
from kubectl_build.session.stream import ServerStream
from kubectl_build.session.threads import in_thread

EXPORT_STORE: Final = "export"
"""The store that an oci or docker output with tar=false is written to; BuildKit knows one in a session."""

_STORE_ID: Final = "buildkit-attachable-store-id"
_SERVICE: Final = "/containerd.services.content.v1.Content/"

M = TypeVar("M", bound=Message)


class ContentStores:
    """Serves stores by the names that the daemon has for them."""

    def __init__(self, stores: Mapping[str, LayoutStore]) -> None:
        self._stores = dict(stores)
        self._writers: dict[tuple[str, str], BlobWriter] = {}
        calls: dict[str, Callable[[ServerStream, str, LayoutStore], Awaitable[None]]] = {
            "Info": self._info,
            "Read": self._read,
            "Write": self._write,
            "Status": self._status,
            "ListStatuses": self._list_statuses,
            "Abort": self._abort,
        }
        self.methods: Mapping[str, Handler] = {f"{_SERVICE}{name}": partial(self._with_store, call) for name, call in calls.items()}

    async def _with_store(self, call: Callable[[ServerStream, str, LayoutStore], Awaitable[None]], stream: ServerStream) -> None:
        values = stream.metadata.get(_STORE_ID, ())
        if not values:
            raise RpcError(INVALID_ARGUMENT, f"request lacks metadata {_STORE_ID}")
        if values[0] not in self._stores:
            raise RpcError(NOT_FOUND, f"this client has no content store {values[0]}")
        await call(stream, values[0], self._stores[values[0]])

    async def _info(self, stream: ServerStream, _: str, store: LayoutStore) -> None:
        request = _parse(pb.InfoRequest, await stream.receive_one())
        found = await in_thread(_existing, store, request.digest)
        info = pb.Info(digest=found.digest, size=found.size)
        for time in (info.created_at, info.updated_at):
            time.FromNanoseconds(int(found.modified * 1e9))
        await _answer(stream, pb.InfoResponse(info=info))

    async def _read(self, stream: ServerStream, _: str, store: LayoutStore) -> None:
        request = _parse(pb.ReadContentRequest, await stream.receive_one())
        found = await in_thread(_existing, store, request.digest)
        start = max(request.offset, 0)
        if start > found.size:
            raise RpcError(OUT_OF_RANGE, f"read past object length {found.size} bytes")
        left = min(request.size, found.size - start) if request.size > 0 else found.size - start
        sent = 0
        while sent < left and (data := await in_thread(store.read, request.digest, start + sent, min(CHUNK, left - sent))):
            # Offsets count from where the request begins, as containerd's own server has it.
            await _answer(stream, pb.ReadContentResponse(offset=sent, data=data))
            sent += len(data)

    async def _write(self, stream: ServerStream, name: str, store: LayoutStore) -> None:
        if store.read_only:
            raise RpcError(FAILED_PRECONDITION, f"content store {name} is read only")
        writer: BlobWriter | None = None
        key = (name, "")
        try:
            while messages := await stream.receive():
                for message in messages:
                    request = _parse(pb.WriteContentRequest, message)
                    if writer is None:
                        key = (name, _ref(request))
                        await in_thread(_refuse_existing, store, request)
                        writer = self._writers[key] = store.writer(request.expected)
                        await in_thread(writer.open)
                    await _answer(stream, await in_thread(_apply, store, writer, request))
                    if request.action == pb.COMMIT:
                        return
        finally:
            if writer is not None:
                await in_thread(writer.close)
                if self._writers.get(key) is writer:
                    del self._writers[key]

    async def _status(self, stream: ServerStream, name: str, _: LayoutStore) -> None:
        ref = _parse(pb.StatusRequest, await stream.receive_one()).ref
        if (name, ref) not in self._writers:
            raise RpcError(NOT_FOUND, f"nothing is being written as {ref}")
        await _answer(stream, pb.StatusResponse(status=_status_of(ref, self._writers[name, ref])))

    async def _list_statuses(self, stream: ServerStream, name: str, _: LayoutStore) -> None:
        await stream.receive_one()
        found = [_status_of(ref, writer) for (store, ref), writer in self._writers.items() if store == name]
        await _answer(stream, pb.ListStatusesResponse(statuses=found))

    async def _abort(self, stream: ServerStream, _: str, __: LayoutStore) -> None:
        """Nothing to do: what was not committed went away with the call that wrote it."""
        _parse(pb.AbortRequest, await stream.receive_one())
        await stream.send(frame(b""))


def _parse(kind: type[M], message: bytes) -> M:
    try:
        return kind.FromString(message)
    except DecodeError as exc:
        raise RpcError(INVALID_ARGUMENT, f"the message is not a {kind.DESCRIPTOR.name}") from exc


async def _answer(stream: ServerStream, message: Message) -> None:
    await stream.send(frame(message.SerializeToString()))


def _existing(store: LayoutStore, digest: str) -> BlobInfo:
    if not is_digest(digest):
        raise RpcError(INVALID_ARGUMENT, f'"{digest}" failed validation')
    found = store.info(digest)
    if found is None:
        raise RpcError(NOT_FOUND, f"content {digest}: not found")
    return found


def _ref(request: pb.WriteContentRequest) -> str:
    if not request.ref:
        raise RpcError(INVALID_ARGUMENT, "first message must have a reference")
    if request.expected and not is_digest(request.expected):
        raise RpcError(INVALID_ARGUMENT, f'"{request.expected}" failed validation')
    return request.ref


def _refuse_existing(store: LayoutStore, request: pb.WriteContentRequest) -> None:
    """Say that a blob is there already, which the daemon takes for success. One that was cut short is written anew."""
    if not request.expected:
        return
    found = store.info(request.expected)
    if found is not None and request.total in (0, found.size):
        store.touch(request.expected)
        raise RpcError(ALREADY_EXISTS, f"blob with expected digest {request.expected} exists")


def _apply(store: LayoutStore, writer: BlobWriter, request: pb.WriteContentRequest) -> pb.WriteContentResponse:
    """Do what one message of a Write call says (containerd, contentserver.go, Write), and return its answer."""
    answer = pb.WriteContentResponse(action=request.action, total=request.total)
    if request.action != pb.STAT:
        if request.offset not in (0, writer.offset):
            raise RpcError(OUT_OF_RANGE, f"write @{request.offset} must occur at current offset {writer.offset}")
        if request.offset < writer.offset:
            writer.restart()
        if request.data:
            writer.write(request.data)
    if request.action == pb.COMMIT:
        if request.expected and not is_digest(request.expected):
            raise RpcError(INVALID_ARGUMENT, f'"{request.expected}" failed validation')
        if not writer.commit(request.total, request.expected):
            raise RpcError(ALREADY_EXISTS, f"content {writer.digest}: already exists")
    answer.offset, answer.digest = writer.offset, writer.digest
    answer.started_at.FromNanoseconds(int(writer.started * 1e9))
    answer.updated_at.FromNanoseconds(int(writer.updated * 1e9))
    return answer


def _status_of(ref: str, writer: BlobWriter) -> pb.Status:
    status = pb.Status(ref=ref, offset=writer.offset, expected=writer.expected)
    status.started_at.FromNanoseconds(int(writer.started * 1e9))
    status.updated_at.FromNanoseconds(int(writer.updated * 1e9))
    return status
