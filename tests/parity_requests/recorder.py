"""A daemon that builds nothing: it answers as little as a client needs to finish, and keeps what it was told.

Services: moby/buildkit v0.31.2, api/services/control/control.proto and frontend/gateway/pb/gateway.proto.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from kubectl_build.proto import control_pb2, gateway_pb2, health_pb2

_CONTROL = "/moby.buildkit.v1.Control/"
_BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge/"
_MAX = 16 << 20


@dataclass(frozen=True, slots=True)
class Manners:
    """What a real daemon answers to those who ask what it is and can: clients decide by it what they send."""

    info: control_pb2.InfoResponse
    workers: control_pb2.ListWorkersResponse
    pong: gateway_pb2.PongResponse


@dataclass(slots=True)
class Record:
    """What one client told in its last build: whole messages, and the metadata of its session."""

    control: control_pb2.SolveRequest | None = None
    gateway: gateway_pb2.SolveRequest | None = None
    session: list[tuple[str, str]] = field(default_factory=list)
    solves: int = 0


class Recorder:
    """The daemon behind one socket. `metadata` is what its frontend answers (for subrequests), `response` what its exporters do."""

    def __init__(self, manners: Manners, *, metadata: dict[str, bytes] | None = None, response: dict[str, str] | None = None) -> None:
        self.record = Record()
        self._manners = manners
        self._metadata = metadata or {}
        self._response = response or {}
        self._returned = asyncio.Event()
        self._ended = asyncio.Event()

    def handlers(self) -> grpc.GenericRpcHandler:
        """The services of a daemon, for a server."""
        unary: dict[str, tuple[Any, Any]] = {
            _CONTROL + "Info": (self._info, control_pb2.InfoRequest),
            _CONTROL + "ListWorkers": (self._workers, control_pb2.ListWorkersRequest),
            _CONTROL + "Solve": (self._solve, control_pb2.SolveRequest),
            _BRIDGE + "Ping": (self._ping, gateway_pb2.PingRequest),
            _BRIDGE + "Solve": (self._gateway_solve, gateway_pb2.SolveRequest),
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
        """End when the client has returned its frontend's result; a solve without exporters is a plan or a look, and counts like any."""
        self.record.control = request
        self.record.solves += 1
        await self._returned.wait()
        self._ended.set()
        return control_pb2.SolveResponse(ExporterResponse=self._response)

    async def _gateway_solve(self, request: gateway_pb2.SolveRequest, _context: Any) -> Message:
        self.record.gateway = request
        return gateway_pb2.SolveResponse(result=gateway_pb2.Result(ref=gateway_pb2.Ref(id="recorded"), metadata=self._metadata))

    async def _return(self, _request: Message, _context: Any) -> Message:
        self._returned.set()
        return gateway_pb2.ReturnResponse()

    async def _status(self, _request: Message, _context: Any) -> AsyncIterator[Message]:
        await self._ended.wait()
        return
        yield

    async def _history(self, _request: Message, _context: Any) -> AsyncIterator[Message]:
        return
        yield

    async def _session(self, requests: AsyncIterator[Message], context: Any) -> AsyncIterator[Message]:
        """Keep the session open as long as the client does. Nothing is asked in it."""
        self.record.session = [(key, value) for key, value in context.invocation_metadata() if key.startswith("x-docker-expose-session")]
        async for _request in requests:
            pass
        return
        yield


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    def __init__(self, handlers: dict[str, grpc.RpcMethodHandler]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return self._handlers.get(handler_call_details.method)


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
