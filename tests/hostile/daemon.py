"""A daemon that builds nothing and says whatever a test wants it to say: on the Control API, and inside the session as its client.

Every answer may be bytes that are no message. Services: moby/buildkit v0.31.2, api/services/control/control.proto and
frontend/gateway/pb/gateway.proto.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from kubectl_build.proto import control_pb2, gateway_pb2, health_pb2, pb_pb2, worker_pb2
from tests.unit.session.peer import Peer, PipeEnd

_CONTROL = "/moby.buildkit.v1.Control/"
_BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge/"
_MAX = 64 << 20
_HEARD = 8 << 20

Answer = Message | bytes
Script = Callable[[Peer], Awaitable[None]]
"""What the daemon does in the session, as the client of its calls."""


def one_worker() -> control_pb2.ListWorkersResponse:
    """A worker as honest daemons have it."""
    platform = pb_pb2.Platform(OS="linux", Architecture="amd64")
    return control_pb2.ListWorkersResponse(record=[worker_pb2.WorkerRecord(ID="hostile", platforms=[platform])])


def one_result() -> gateway_pb2.SolveResponse:
    """A frontend's result for one platform, in which nothing runs."""
    return gateway_pb2.SolveResponse(result=gateway_pb2.Result(ref=gateway_pb2.Ref(id="hostile")))


@dataclass
class Failure:
    """A status in place of an answer, with the bytes of its details."""

    code: grpc.StatusCode
    message: str
    details: bytes = b""


@dataclass
class Daemon:
    """What it answers, and what it got. `heard` is what came out of sessions, as far as it is kept; `script_error` is the test's own.

    `solving` is set when a build has begun.
    `silent` names methods (`Solve`, `Gateway`, ...) that are never answered, not even when the client has given up.
    """

    info: Answer = field(default_factory=lambda: control_pb2.InfoResponse())
    workers: Answer = field(default_factory=one_worker)
    pong: Answer = field(default_factory=lambda: gateway_pb2.PongResponse())
    result: Answer | Failure = field(default_factory=one_result)
    outcome: Answer | Failure = field(default_factory=lambda: control_pb2.SolveResponse())
    exported: Mapping[str, str] = field(default_factory=dict)
    statuses: Callable[[], Iterable[Answer]] = lambda: ()
    history: tuple[Answer, ...] = ()
    content: tuple[Answer, ...] = ()
    script: Script | None = None
    raw_session: Callable[[], Iterable[bytes]] | None = None
    silent: frozenset[str] = frozenset()
    heard: bytearray = field(default_factory=bytearray)
    script_error: BaseException | None = None
    solving: asyncio.Event = field(default_factory=asyncio.Event)
    _scripted: asyncio.Event = field(default_factory=asyncio.Event)
    _returned: asyncio.Event = field(default_factory=asyncio.Event)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    def handlers(self) -> grpc.GenericRpcHandler:
        """The services of a daemon, for a server."""
        unary: dict[str, Any] = {
            _CONTROL + "Info": self._answering("Info", lambda: self.info),
            _CONTROL + "ListWorkers": self._answering("ListWorkers", lambda: self.workers),
            _CONTROL + "Solve": self._solve,
            _BRIDGE + "Ping": self._answering("Ping", lambda: self.pong),
            _BRIDGE + "Solve": self._gateway,
            _BRIDGE + "Return": self._return,
            "/grpc.health.v1.Health/Check": self._answering(
                "Health", lambda: health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
            ),
        }
        streams: dict[str, Any] = {
            _CONTROL + "Status": self._status,
            _CONTROL + "ListenBuildHistory": self._streaming(lambda: self.history),
            "/containerd.services.content.v1.Content/Read": self._streaming(lambda: self.content),
        }
        found = {name: grpc.unary_unary_rpc_method_handler(call, _same, _bytes_of) for name, call in unary.items()}
        found |= {name: grpc.unary_stream_rpc_method_handler(call, _same, _bytes_of) for name, call in streams.items()}
        found[_CONTROL + "Session"] = grpc.stream_stream_rpc_method_handler(self._session, _same, _bytes_of)
        return _Handlers(found)

    def _answering(self, name: str, answer: Callable[[], Answer]) -> Any:
        async def call(_request: bytes, _context: Any) -> Answer:
            await self._unless_silent(name)
            return answer()

        return call

    def _streaming(self, answers: Callable[[], Iterable[Answer]]) -> Any:
        async def call(_request: bytes, _context: Any) -> AsyncIterator[Answer]:
            for answer in answers():
                yield answer

        return call

    async def _unless_silent(self, name: str) -> None:
        if name in self.silent:
            await asyncio.Event().wait()

    async def _gateway(self, _request: bytes, context: Any) -> Answer:
        if self.script is not None:
            await self._scripted.wait()  # a daemon asks while the frontend runs
        await self._unless_silent("Gateway")
        return await _said(self.result, context)

    async def _return(self, _request: bytes, _context: Any) -> Answer:
        self._returned.set()
        return gateway_pb2.ReturnResponse()

    async def _solve(self, _request: bytes, context: Any) -> Answer:
        self.solving.set()
        try:
            await self._returned.wait()
            await self._unless_silent("Solve")
        finally:
            self._ended.set()
        if self.exported:
            return control_pb2.SolveResponse(ExporterResponse=self.exported)
        return await _said(self.outcome, context)

    async def _status(self, _request: bytes, _context: Any) -> AsyncIterator[Answer]:
        for message in self.statuses():
            yield message
        await self._unless_silent("Status")
        await self._ended.wait()

    async def _session(self, requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[Answer]:
        incoming: asyncio.Queue[bytes] = asyncio.Queue(2)
        outgoing: asyncio.Queue[bytes] = asyncio.Queue(2)
        tasks = [asyncio.create_task(self._listen(requests, incoming)), asyncio.create_task(self._act(PipeEnd(incoming, outgoing)))]
        try:
            for raw in self.raw_session() if self.raw_session else ():
                yield control_pb2.BytesMessage(data=raw)
            while data := await outgoing.get():
                yield control_pb2.BytesMessage(data=data)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _listen(self, requests: AsyncIterator[bytes], incoming: asyncio.Queue[bytes]) -> None:
        async for request in requests:
            data = control_pb2.BytesMessage.FromString(request).data
            if len(self.heard) < _HEARD:
                self.heard += data
            if self.script is not None:
                await incoming.put(data)
        await incoming.put(b"")

    async def _act(self, pipe: PipeEnd) -> None:
        if self.script is None:
            return
        try:
            await self.script(Peer(pipe))
        except Exception as error:  # noqa: BLE001  # the test's own failure is raised where the test sees it
            self.script_error = error
        finally:
            self._scripted.set()


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    def __init__(self, handlers: dict[str, grpc.RpcMethodHandler]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return self._handlers.get(handler_call_details.method)


async def _said(answer: Answer | Failure, context: Any) -> Answer:
    if not isinstance(answer, Failure):
        return answer
    metadata = (("grpc-status-details-bin", answer.details),) if answer.details else ()
    await context.abort(answer.code, answer.message, metadata)
    raise AssertionError("abort raises")


def _same(data: bytes) -> bytes:
    return data


def _bytes_of(answer: Answer) -> bytes:
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


@asynccontextmanager
async def serve(daemon: Daemon, socket: Path) -> AsyncIterator[str]:
    """Serve `daemon` on `socket` while the body runs; yields its address. What went wrong in the script is raised at the end."""
    options = (("grpc.max_receive_message_length", _MAX), ("grpc.max_send_message_length", _MAX), ("grpc.max_metadata_size", _MAX))
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers((daemon.handlers(),))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    try:
        yield f"unix://{socket}"
    finally:
        await server.stop(None)
    if daemon.script_error is not None:
        raise daemon.script_error
