"""A daemon that only tells of itself: version, workers, history, and a cache that can be listed and pruned.

Services: moby/buildkit v0.31.2, api/services/control/control.proto.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from kubectl_build.proto import control_pb2, health_pb2
from tests.fakes.kube_exec import ExecCall, ExecHandler

_CONTROL = "/moby.buildkit.v1.Control/"


@dataclass(slots=True)
class FakeDaemon:
    """What it tells. `records` is its cache; a prune takes what is not in use. `asked` has the requests of DiskUsage and Prune.

    With `refusal` these two answer an error of that text.
    """

    socket: Path
    version: str = "v0.31.2"
    platforms: list[str] = field(default_factory=lambda: ["linux/amd64", "linux/386"])
    records: list[control_pb2.UsageRecord] = field(default_factory=list)
    images: str = ""
    refusal: str = ""
    asked: list[Message] = field(default_factory=list)

    def entry(self, name: str, size: int, **more: Any) -> None:
        """Put an entry into the cache."""
        record = control_pb2.UsageRecord(ID=name, Size=size, **more)
        record.CreatedAt.FromSeconds(int(time.time()) - 3600)
        self.records.append(record)

    def handlers(self) -> grpc.GenericRpcHandler:
        """The services, for a server."""
        unary: dict[str, tuple[Any, Any]] = {
            _CONTROL + "Info": (self._info, control_pb2.InfoRequest),
            _CONTROL + "ListWorkers": (self._workers, control_pb2.ListWorkersRequest),
            _CONTROL + "DiskUsage": (self._usage, control_pb2.DiskUsageRequest),
            "/grpc.health.v1.Health/Check": (self._check, health_pb2.HealthCheckRequest),
        }
        streams: dict[str, tuple[Any, Any]] = {
            _CONTROL + "Prune": (self._prune, control_pb2.PruneRequest),
            _CONTROL + "ListenBuildHistory": (self._history, control_pb2.BuildHistoryRequest),
        }
        found = {n: grpc.unary_unary_rpc_method_handler(call, request.FromString, _bytes) for n, (call, request) in unary.items()}
        found |= {n: grpc.unary_stream_rpc_method_handler(call, request.FromString, _bytes) for n, (call, request) in streams.items()}
        return _Handlers(found)

    async def _info(self, _request: Message, _context: Any) -> Message:
        answer = control_pb2.InfoResponse()
        answer.buildkitVersion.version = self.version
        return answer

    async def _workers(self, _request: Message, _context: Any) -> Message:
        answer = control_pb2.ListWorkersResponse()
        worker = answer.record.add(ID="worker")
        for name in self.platforms:
            os, architecture, *variant = name.split("/")
            worker.platforms.add(OS=os, Architecture=architecture, Variant="".join(variant))
        return answer

    async def _check(self, _request: Message, _context: Any) -> Message:
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)

    async def _usage(self, request: Message, context: Any) -> Message:
        await self._note(request, context)
        return control_pb2.DiskUsageResponse(record=self.records)

    async def _prune(self, request: Message, context: Any) -> AsyncIterator[Message]:
        await self._note(request, context)
        for record in [record for record in self.records if not record.InUse]:
            self.records.remove(record)
            yield record

    async def _note(self, request: Message, context: Any) -> None:
        self.asked.append(request)
        if self.refusal:
            await context.abort(grpc.StatusCode.UNKNOWN, self.refusal)

    async def _history(self, _request: Message, _context: Any) -> AsyncIterator[Message]:
        if self.images:
            event = control_pb2.BuildHistoryEvent(type=control_pb2.COMPLETE)
            event.record.Ref = "ref"
            event.record.CreatedAt.FromSeconds(int(time.time()))
            event.record.Exporters.add(Type="image", Attrs={"name": self.images})
            yield event


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    def __init__(self, handlers: dict[str, grpc.RpcMethodHandler]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return self._handlers.get(handler_call_details.method)


def _bytes(message: Message) -> bytes:
    return message.SerializeToString()


@asynccontextmanager
async def serve_daemon(daemon: FakeDaemon) -> AsyncIterator[FakeDaemon]:
    """Serve `daemon` on its socket while the body runs."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((daemon.handlers(),))
    server.add_insecure_port(f"unix:{daemon.socket}")
    await server.start()
    try:
        yield daemon
    finally:
        await server.stop(None)


def dialing(socket: Path) -> ExecHandler:
    """An exec that is connected with `socket`, as `buildctl dial-stdio` is with its daemon."""

    async def handle(call: ExecCall) -> int:
        await joined(call, *await asyncio.open_unix_connection(str(socket)))
        return 0

    return handle


async def joined(call: ExecCall, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy both ways between an exec and a connection until one of them ends."""

    async def upward() -> None:
        while data := await call.read():
            writer.write(data)
            await writer.drain()

    async def downward() -> None:
        while data := await reader.read(65536):
            await call.write(data)

    tasks = [asyncio.ensure_future(upward()), asyncio.ensure_future(downward())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
