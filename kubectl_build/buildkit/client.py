"""A connection to one BuildKit daemon.

The methods follow moby/buildkit's api/services/control/control.proto and frontend/gateway/pb/gateway.proto. grpcio's errors never leave
this
package: they become the errors of kubectl_build.errors at this boundary.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from kubectl_build.deadlines import deadlines
from kubectl_build.errors import ConnectionLost, DialError, KubectlBuildError, ProtocolError
from kubectl_build.model.digest import Descriptor
from kubectl_build.model.platform import Platform, normalize
from kubectl_build.proto import content_pb2, control_pb2, gateway_pb2, health_pb2
from kubectl_build.proto.wire import bytes_head
from kubectl_build.values import dataclass

_CONTROL = "/moby.buildkit.v1.Control/"
_BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge/"
_CONTENT = "/containerd.services.content.v1.Content/"
_BUILD_ID = "buildkit-controlapi-buildid"

_MAX_MESSAGE = 16 << 20
"""The daemon sends messages of up to 16 MiB (cmd/buildkitd/main.go); grpcio's own limit is 4 MiB."""

_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    ("grpc.max_send_message_length", _MAX_MESSAGE),
    # The details of a failure are metadata, with the whole Dockerfile among them. Beyond grpcio's own 8 KiB nothing of it would be left.
    ("grpc.max_metadata_size", _MAX_MESSAGE),
    ("grpc.absolute_max_metadata_size", _MAX_MESSAGE),
    ("grpc.default_authority", "localhost"),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    # A refused connection is final here: whoever dials decides about another try.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)

_OVERSIZE = re.compile(r"CLIENT: Received message larger than max|received metadata size exceeds")
"""What grpcio itself says of an answer that is over its limits."""

_ENDED = "the connection to the builder ended while it was in use"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A daemon's worker. `platforms` is what it says it can run, emulators registered in the kernel included; the first is its own."""

    id: str
    platforms: tuple[Platform, ...]
    labels: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonInfo:
    """What a daemon says of itself: version such as "v0.31.2", and its workers."""

    version: str
    workers: tuple[Worker, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRecord:
    """One entry of the daemon's build history; `completed` is None while it runs. Times are seconds since the epoch.

    `images` are the names that its exporters were given.
    """

    ref: str
    frontend_attrs: dict[str, str]
    created: float
    completed: float | None
    error: str
    images: tuple[str, ...] = ()


class BuildkitClient:
    """Calls on one daemon. Made by `connect`; lives as long as its context. Cancelling a task that awaits a call cancels the call."""

    def __init__(self, channel: grpc.aio.Channel, failure: Callable[[], KubectlBuildError | None]) -> None:
        self._channel = channel
        self._failure = failure

    async def info(self) -> DaemonInfo:
        """Ask version and workers. Raises ConnectionLost, as every short question without an answer in time."""
        deadline = deadlines().call
        version = await self._unary(_CONTROL + "Info", control_pb2.InfoRequest(), control_pb2.InfoResponse, deadline=deadline)
        workers = await self._unary(
            _CONTROL + "ListWorkers", control_pb2.ListWorkersRequest(), control_pb2.ListWorkersResponse, deadline=deadline
        )
        if not workers.record or not all(record.platforms for record in workers.record):
            raise ProtocolError("the builder's daemon has no worker with a platform")
        return DaemonInfo(version=version.buildkitVersion.version, workers=tuple(_worker(record) for record in workers.record))

    async def history(self, *, active_only: bool = False) -> list[BuildRecord]:
        """List builds that the daemon remembers or, with `active_only`, runs just now."""
        request = control_pb2.BuildHistoryRequest(ActiveOnly=active_only, EarlyExit=True)
        records = []
        call = self._stream(_CONTROL + "ListenBuildHistory")(request, timeout=deadlines().call)
        async for event in self._messages(call, control_pb2.BuildHistoryEvent, "ListenBuildHistory"):
            records.append(_record(event.record))
        return records

    async def history_records(self, request: control_pb2.BuildHistoryRequest) -> list[control_pb2.BuildHistoryRecord]:
        """The records of the history that `request` asks for, without those being deleted. Raises RpcFailure, ConnectionLost."""
        call = self._stream(_CONTROL + "ListenBuildHistory")(request, timeout=deadlines().call)
        events = [event async for event in self._messages(call, control_pb2.BuildHistoryEvent, "ListenBuildHistory", raw=True)]
        return [event.record for event in events if event.type != control_pb2.DELETED and event.HasField("record")]

    async def update_history(self, request: control_pb2.UpdateBuildHistoryRequest) -> None:
        """Delete, pin or finalize a record. Raises RpcFailure, ConnectionLost."""
        deadline = deadlines().content
        await self._unary(_CONTROL + "UpdateBuildHistory", request, control_pb2.UpdateBuildHistoryResponse, deadline=deadline, raw=True)

    async def attestations(self, ref: str) -> dict[str, list[Descriptor]]:
        """What the history of build `ref` holds of statements about its results, by platform; "" is the platform of a lone result."""
        request = control_pb2.BuildHistoryRequest(Ref=ref, EarlyExit=True)
        found: dict[str, list[Descriptor]] = {}
        call = self._stream(_CONTROL + "ListenBuildHistory")(request, timeout=deadlines().call)
        async for event in self._messages(call, control_pb2.BuildHistoryEvent, "ListenBuildHistory"):
            results = dict(event.record.Results) or ({"": event.record.Result} if event.record.HasField("Result") else {})
            for platform, result in results.items():
                found[platform] = [_descriptor(item) for item in result.Attestations]
        return found

    async def read_content(self, digest: str, *, limit: int = 16 << 20) -> bytes:
        """Read a whole blob (a manifest or an index) from the daemon's content store. Raises ConnectionLost, also when it is over `limit`
        bytes."""
        data = bytearray()
        call = self._stream(_CONTENT + "Read")(
            content_pb2.ReadContentRequest(digest=digest), timeout=deadlines().content, metadata=(("containerd-namespace", "buildkit"),)
        )
        async for message in self._messages(call, content_pb2.ReadContentResponse, f"Read of {digest}"):
            data += message.data
            if len(data) > limit:
                call.cancel()
                raise ConnectionLost(f"blob {digest} in the builder's content store is longer than {limit} bytes")
        return bytes(data)

    async def disk_usage(self, request: control_pb2.DiskUsageRequest, *, deadline: float) -> list[control_pb2.UsageRecord]:
        """List what the daemon's cache holds. Raises RpcFailure for a filter that the daemon does not understand, ConnectionLost."""
        answer = await self._unary(_CONTROL + "DiskUsage", request, control_pb2.DiskUsageResponse, deadline=deadline, raw=True)
        return list(answer.record)

    async def prune(self, request: control_pb2.PruneRequest, *, deadline: float) -> list[control_pb2.UsageRecord]:
        """Delete from the daemon's cache and return what went. Raises as `disk_usage`; what has gone by then is gone."""
        call = self._stream(_CONTROL + "Prune")(request, timeout=deadline)
        return [record async for record in self._messages(call, control_pb2.UsageRecord, "Prune", raw=True)]

    async def healthy(self, *, deadline: float | None = None) -> None:
        """Ask the daemon's health. Raises ConnectionLost without an answer in `deadline` seconds, by default that of short questions."""
        limit = deadline or deadlines().call
        await self._unary("/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(), health_pb2.HealthCheckResponse, deadline=limit)

    async def solve(self, request: control_pb2.SolveRequest) -> dict[str, str]:
        """Run a whole build; returns the exporter response. Has no deadline: a build may take any time; the session watches the link.

        Raises RpcFailure with the daemon's status (see errors.py of this package), or ConnectionLost.
        """
        response = await self._unary(_CONTROL + "Solve", request, control_pb2.SolveResponse, deadline=None, raw=True)
        return dict(response.ExporterResponse)

    async def status(self, ref: str) -> AsyncGenerator[control_pb2.StatusResponse, None]:
        """Follow a build's status until the daemon ends it. Close with aclosing; raises RpcFailure for a build that the daemon does not
        know, ConnectionLost."""
        call = self._stream(_CONTROL + "Status")(control_pb2.StatusRequest(Ref=ref))
        try:
            async for message in self._messages(call, control_pb2.StatusResponse, "Status", raw=True):
                yield message
        finally:
            call.cancel()

    def session_call(self, metadata: Sequence[tuple[str, str]]) -> grpc.aio.StreamStreamCall[bytes, bytes]:
        """Open Control.Session as a pipe of raw bytes; the caller cancels it."""
        return self._channel.stream_stream(_CONTROL + "Session", request_serializer=_encode_bytes_message)(metadata=tuple(metadata))

    async def gateway_ping(self, ref: str) -> gateway_pb2.PongResponse:
        """Ask the gateway of build `ref` for its capabilities; the daemon waits some seconds for the build to be known. Raises
        RpcFailure."""
        return await self._gateway(ref, "Ping", gateway_pb2.PingRequest(), gateway_pb2.PongResponse, deadline=deadlines().content)

    async def gateway_solve(self, ref: str, request: gateway_pb2.SolveRequest) -> gateway_pb2.SolveResponse:
        """Run the frontend within build `ref`. Has no deadline: a frontend loads contexts and may be an image of its own. Raises
        RpcFailure."""
        return await self._gateway(ref, "Solve", request, gateway_pb2.SolveResponse, deadline=None)

    async def gateway_read_file(self, ref: str, result: str, path: str, *, limit: int) -> bytes:
        """Read at most `limit` bytes of a file in what build `ref` has loaded as `result`. Raises RpcFailure."""
        request = gateway_pb2.ReadFileRequest(Ref=result, FilePath=path, Range=gateway_pb2.FileRange(Length=limit))
        return (await self._gateway(ref, "ReadFile", request, gateway_pb2.ReadFileResponse, deadline=deadlines().content)).Data

    async def gateway_return(self, ref: str, request: gateway_pb2.ReturnRequest) -> None:
        """End the frontend's part of build `ref` with a result or an error."""
        await self._gateway(ref, "Return", request, gateway_pb2.ReturnResponse, deadline=deadlines().content)

    async def _gateway(self, ref: str, method: str, request: Any, response: type[T], *, deadline: float | None) -> T:
        return await self._unary(_BRIDGE + method, request, response, deadline=deadline, metadata=((_BUILD_ID, ref),), raw=True)

    async def _unary(
        self,
        method: str,
        request: Any,
        response: type[T],
        *,
        deadline: float | None,
        metadata: Sequence[tuple[str, str]] = (),
        raw: bool = False,
    ) -> T:
        call = self._channel.unary_unary(method, request_serializer=type(request).SerializeToString)(
            request, timeout=deadline, metadata=tuple(metadata)
        )
        try:
            return _parsed(response, await self.boundary(call, method, raw=raw), method)
        except RpcFailure as failure:
            if deadline is not None and failure.code is grpc.StatusCode.DEADLINE_EXCEEDED:  # ours, not what a build ended with
                raise ConnectionLost(f"the builder did not answer {method.rsplit('/', 1)[-1]} in time") from failure
            raise

    def _stream(self, method: str) -> Any:
        return self._channel.unary_stream(method, request_serializer=lambda message: message.SerializeToString())

    async def _messages(self, call: Any, response: type[T], what: str, *, raw: bool = False) -> AsyncIterator[T]:
        while True:
            message = await self.boundary(call.read(), what, raw=raw)
            if message is grpc.aio.EOF:
                return
            yield _parsed(response, message, what)

    async def boundary(self, awaitable: Awaitable[T], what: str, *, raw: bool = False) -> T:
        """Await something of grpcio and turn its errors into ours. `raw` keeps a status that the daemon answered as RpcFailure."""
        try:
            return await awaitable
        except grpc.aio.AioRpcError as error:
            failure = self._failure()
            if failure is not None:
                raise failure from error
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and _OVERSIZE.search(error.details() or ""):
                raise ProtocolError(f"what the builder answered to {what.rsplit('/', 1)[-1]} is longer than may be") from error
            if raw and error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise RpcFailure(error) from error
            raise _lost(error, what) from error
        except asyncio.CancelledError as error:
            # grpc.aio raises CancelledError in tasks that nobody cancelled when a channel breaks under a call.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise self._failure() or ConnectionLost(_ENDED) from error
        except asyncio.InvalidStateError as error:  # what grpc.aio says to who writes to a call that has ended meanwhile
            raise self._failure() or ConnectionLost(_ENDED) from error


class RpcFailure(Exception):
    """A status that the daemon answered, before this package's errors module gives it its meaning. Never leaves the package."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        super().__init__(error.details())
        self.code: grpc.StatusCode = error.code()
        self.message: str = error.details() or ""
        self.details_bin: bytes = b""
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin" and isinstance(value, bytes):
                self.details_bin = value


@asynccontextmanager
async def connect(target: str, *, failure: Callable[[], KubectlBuildError | None] = lambda: None) -> AsyncIterator[BuildkitClient]:
    """Connect to the daemon at `target` (a gRPC target such as unix:/path) and yield a client once the daemon has answered.

    `failure` tells why the bytes beneath stopped, when the carrier knows (see transport.bridge). Raises DialError when no answer comes.
    """
    # The dialer's own limits are within this one: what it says of a failure is better.
    limit = deadlines().connect + deadlines().answer
    async with grpc.aio.insecure_channel(target, options=_OPTIONS) as channel:
        client = BuildkitClient(channel, failure)
        try:
            async with asyncio.timeout(limit):
                await _first_answer(client, failure)
        except TimeoutError as error:
            raise failure() or DialError(
                f"the BuildKit daemon did not answer within {limit:g} s", hint="see the pod's log: kubectl logs POD -c buildkitd"
            ) from error
        yield client


async def _first_answer(client: BuildkitClient, failure: Callable[[], KubectlBuildError | None]) -> None:
    try:
        await client.healthy(deadline=60.0)
    except ConnectionLost as error:
        if isinstance(error.__cause__, grpc.aio.AioRpcError) and error.__cause__.code() is grpc.StatusCode.UNIMPLEMENTED:
            stranger = DialError(f"what answers there is no BuildKit daemon: {error.__cause__.details()}")
            stranger.transient = False
            raise stranger from error
        raise failure() or DialError(error.message, hint=error.hint) from error


def _lost(error: grpc.aio.AioRpcError, what: str) -> ConnectionLost:
    name = what.rsplit("/", 1)[-1]
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ConnectionLost(f"the builder did not answer {name} in time")
    return ConnectionLost(f"the connection to the builder was lost during {name}: {error.details() or error.code().name}")


def _parsed(response: type[T], data: Any, what: str) -> T:
    """Read a message. Not left to grpcio, which would log the traceback of one that cannot be read and answer None."""
    kind: Any = response
    try:
        message: T = kind.FromString(data)
    except DecodeError as error:
        raise ProtocolError(f"what the builder answered to {what.rsplit('/', 1)[-1]} cannot be read") from error
    return message


def _encode_bytes_message(data: bytes) -> bytes:
    return bytes_head(control_pb2.BytesMessage.DATA_FIELD_NUMBER, len(data)) + data


def session_bytes(message: bytes) -> bytes:
    """The bytes that a message of Control.Session carries. Raises ProtocolError."""
    return _parsed(control_pb2.BytesMessage, message, "Session").data


def _worker(record: Any) -> Worker:
    platforms = tuple(normalize(p.OS, p.Architecture, p.Variant, p.OSVersion) for p in record.platforms)
    return Worker(id=record.ID, platforms=platforms, labels=dict(record.Labels))


def _descriptor(item: control_pb2.Descriptor) -> Descriptor:
    return Descriptor(media_type=item.media_type, digest=item.digest, size=item.size, annotations=dict(item.annotations))


def _record(record: control_pb2.BuildHistoryRecord) -> BuildRecord:
    return BuildRecord(
        ref=record.Ref,
        frontend_attrs=dict(record.FrontendAttrs),
        created=record.CreatedAt.ToNanoseconds() / 1e9,
        completed=record.CompletedAt.ToNanoseconds() / 1e9 if record.HasField("CompletedAt") else None,
        error=record.error.message,
        images=tuple(name for exporter in record.Exporters for name in exporter.Attrs.get("name", "").split(",") if name),
    )
