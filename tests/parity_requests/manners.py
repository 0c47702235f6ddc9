"""What a real daemon says of itself. Clients decide by it what they send, so the recording one says the same."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio

from kubectl_build.proto import control_pb2, gateway_pb2

_CONTROL = "/moby.buildkit.v1.Control/"
_BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge/"


@dataclass(frozen=True, slots=True)
class Manners:
    """A daemon's version, workers and capabilities."""

    info: control_pb2.InfoResponse
    workers: control_pb2.ListWorkersResponse
    pong: gateway_pb2.PongResponse


async def ask(socket: Path) -> Manners:
    """Ask the daemon behind `socket`. It tells its capabilities within a build only, so one is begun, and ended without a result."""
    async with grpc.aio.insecure_channel(f"unix:{socket}", options=(("grpc.default_authority", "localhost"),)) as channel:

        def call(method: str, request: Any, response: Any, **options: Any) -> Any:
            return channel.unary_unary(
                method, request_serializer=type(request).SerializeToString, response_deserializer=response.FromString
            )(request, timeout=30, **options)

        info = await call(_CONTROL + "Info", control_pb2.InfoRequest(), control_pb2.InfoResponse)
        workers = await call(_CONTROL + "ListWorkers", control_pb2.ListWorkersRequest(), control_pb2.ListWorkersResponse)
        ref = secrets.token_hex(12)
        metadata = (("buildkit-controlapi-buildid", ref),)
        build = asyncio.ensure_future(call(_CONTROL + "Solve", control_pb2.SolveRequest(Ref=ref, Internal=True), control_pb2.SolveResponse))
        pong = await call(_BRIDGE + "Ping", gateway_pb2.PingRequest(), gateway_pb2.PongResponse, metadata=metadata)
        await call(
            _BRIDGE + "Return", gateway_pb2.ReturnRequest(result=gateway_pb2.Result()), gateway_pb2.ReturnResponse, metadata=metadata
        )
        await build
    return Manners(info, workers, pong)
