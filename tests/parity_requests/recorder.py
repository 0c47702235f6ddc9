"""A daemon that builds nothing: it answers as little as a client needs to finish, and keeps what it was told.

Services: moby/buildkit v0.31.2, api/services/control/control.proto and frontend/gateway/pb/gateway.proto.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from kubectl_build.proto import control_pb2, fsutil_pb2, gateway_pb2, health_pb2
from tests.parity_requests.manners import Manners

_CONTROL = "/moby.buildkit.v1.Control/"
_BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge/"
_BUILD_ID = "buildkit-controlapi-buildid"
_MAX = 16 << 20

_DIGEST = "sha256:" + "0" * 64
_RESPONSE = {
    "containerimage.digest": _DIGEST,
    "containerimage.config.digest": _DIGEST,
    "containerimage.descriptor": base64.b64encode(
        json.dumps({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": _DIGEST, "size": 2}).encode()
    ).decode(),
}
"""What the exporters of any build answer."""

_ANSWER = {"result.json": b"{}", "result.txt": b"nothing\n", "version": b"1"}
"""What the frontend answers to a question, but for the one that wants a list."""


@dataclass(slots=True)
class Build:
    """What a client told of one build: whole messages."""

    control: control_pb2.SolveRequest | None = None
    gateway: gateway_pb2.SolveRequest | None = None
    returned: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Recorder:
    """The daemon behind one socket. `sessions` has the metadata of each session by its ID, `builds` what was asked, by ref."""

    def __init__(self, manners: Manners) -> None:
        self.sessions: dict[str, list[tuple[str, str]]] = {}
        self.builds: dict[str, Build] = {}
        self._manners = manners

    def handlers(self) -> grpc.GenericRpcHandler:
        """The services of a daemon, for a server."""
        unary: dict[str, tuple[Any, Any]] = {
            _CONTROL + "Info": (self._info, control_pb2.InfoRequest),
            _CONTROL + "ListWorkers": (self._workers, control_pb2.ListWorkersRequest),
            _CONTROL + "Solve": (self._solve, control_pb2.SolveRequest),
            _BRIDGE + "Ping": (self._ping, gateway_pb2.PingRequest),
            _BRIDGE + "Solve": (self._gateway_solve, gateway_pb2.SolveRequest),
            _BRIDGE + "ReadFile": (self._read_file, gateway_pb2.ReadFileRequest),
            _BRIDGE + "StatFile": (self._stat_file, gateway_pb2.ReadFileRequest),
            _BRIDGE + "Return": (self._return, gateway_pb2.ReturnRequest),
            "/grpc.health.v1.Health/Check": (self._check, health_pb2.HealthCheckRequest),
        }
        streams: dict[str, tuple[Any, Any]] = {
            _CONTROL + "Status": (self._status, control_pb2.StatusRequest),
            _CONTROL + "ListenBuildHistory": (self._history, control_pb2.BuildHistoryRequest),
        }
        found: dict[str, grpc.RpcMethodHandler] = {
            name: grpc.unary_unary_rpc_method_handler(call, request.FromString, _serialize) for name, (call, request) in unary.items()
        }
        for name, (stream, request) in streams.items():
            found[name] = grpc.unary_stream_rpc_method_handler(stream, request.FromString, _serialize)
        found[_CONTROL + "Session"] = grpc.stream_stream_rpc_method_handler(self._session, control_pb2.BytesMessage.FromString, _serialize)
        return _Handlers(found)

    async def _info(self, _request: Message, _context: Any) -> Message:
        return self._manners.info

    async def _workers(self, _request: Message, _context: Any) -> Message:
        return self._manners.workers

    async def _check(self, _request: Message, _context: Any) -> Message:
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)

    async def _ping(self, _request: Message, _context: Any) -> Message:
        return self._manners.pong

    async def _solve(self, request: control_pb2.SolveRequest, _context: Any) -> Message:
        """End when the client has returned its frontend's result."""
        build = self._build(request.Ref)
        build.control = request
        await build.returned.wait()
        build.ended.set()
        return control_pb2.SolveResponse(ExporterResponse=_RESPONSE if request.Exporters else {})

    async def _gateway_solve(self, request: gateway_pb2.SolveRequest, context: Any) -> Message:
        """Answer a question, else a result for each platform that was asked for."""
        self._build(_build_id(context)).gateway = request
        options = request.FrontendOpt
        result = gateway_pb2.Result()
        platforms = [text for text in options.get("platform", "").split(",") if text]
        if "requestid" in options:
            result.metadata.update(_ANSWER)
            if options["requestid"] == "frontend.subrequests.describe":
                result.metadata["result.json"] = b"[]"
        elif len(platforms) > 1 or options.get("multi-platform") == "true":
            for text in platforms:
                result.refs.refs[text].id = text
        else:
            result.ref.id = "recorded"
        return gateway_pb2.SolveResponse(result=result)

    async def _read_file(self, request: gateway_pb2.ReadFileRequest, context: Any) -> Message:
        """Give a Dockerfile that is to be fetched; whoever looks beside it (buildx, for a policy) finds nothing."""
        if request.FilePath != "Dockerfile":
            await context.abort(grpc.StatusCode.NOT_FOUND, f"{request.FilePath}: no such file or directory")
        return gateway_pb2.ReadFileResponse(Data=b"FROM scratch\n")

    async def _stat_file(self, request: gateway_pb2.ReadFileRequest, context: Any) -> Message:
        if request.FilePath != "Dockerfile":
            await context.abort(grpc.StatusCode.NOT_FOUND, f"{request.FilePath}: no such file or directory")
        return control_pb2.BytesMessage(data=fsutil_pb2.Stat(path="Dockerfile", size=13).SerializeToString())  # field 1 is the stat

    async def _return(self, _request: Message, context: Any) -> Message:
        self._build(_build_id(context)).returned.set()
        return gateway_pb2.ReturnResponse()

    async def _status(self, request: control_pb2.StatusRequest, _context: Any) -> AsyncIterator[Message]:
        await self._build(request.Ref).ended.wait()
        return
        yield

    async def _history(self, _request: Message, _context: Any) -> AsyncIterator[Message]:
        return
        yield

    async def _session(self, requests: AsyncIterator[Message], context: Any) -> AsyncIterator[Message]:
        """Keep the session open as long as the client does. Nothing is asked in it."""
        metadata = [(key, value) for key, value in context.invocation_metadata() if key.startswith("x-docker-expose-session")]
        self.sessions[dict(metadata)["x-docker-expose-session-uuid"]] = metadata
        async for _request in requests:
            pass
        return
        yield

    def _build(self, ref: str) -> Build:
        return self.builds.setdefault(ref, Build())


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    def __init__(self, handlers: dict[str, grpc.RpcMethodHandler]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return self._handlers.get(handler_call_details.method)


def _build_id(context: Any) -> str:
    return str(dict(context.invocation_metadata())[_BUILD_ID])


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


@asynccontextmanager
async def serve(recorder: Recorder, socket: Path) -> AsyncIterator[None]:
    """Serve `recorder` on `socket` while the body runs."""
    server = grpc.aio.server(options=(("grpc.max_receive_message_length", _MAX), ("grpc.max_send_message_length", _MAX)))
    server.add_generic_rpc_handlers((recorder.handlers(),))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)
