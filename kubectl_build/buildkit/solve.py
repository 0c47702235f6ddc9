"""One solve through the gateway, in BuildKit's own reading order: session, Solve and Status at once, the frontend's LLB, its check, Return.

Follows moby/buildkit client/build.go and client/solve.go.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import field

import grpc.aio
from google.protobuf.message import DecodeError

from kubectl_build.buildkit.client import BuildkitClient, RpcFailure, session_bytes
from kubectl_build.buildkit.errors import FailureLog, solve_error
from kubectl_build.buildkit.response import check_digests
from kubectl_build.buildkit.status import status_updates
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import ConnectionLost, ungrouped
from kubectl_build.model.events import Sink, StatusUpdate
from kubectl_build.model.request import CacheEntry
from kubectl_build.proto import control_pb2, gateway_pb2, pb_pb2, sourcepolicy_pb2
from kubectl_build.session.session import Session
from kubectl_build.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporter:
    """An exporter of BuildKit and its attributes."""

    type: str
    attrs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SolveJob:
    """What one daemon is asked to build. `internal` builds leave no trace in its history.

    `definition` is an LLB to load instead of asking a frontend.
    `question` are attributes that only the frontend's own call gets, over `attrs`: what it is to answer instead of a build.
    """

    frontend: str = ""
    attrs: Mapping[str, str] = field(default_factory=dict)
    definition: pb_pb2.Definition | None = None
    question: Mapping[str, str] = field(default_factory=dict)
    exporters: tuple[Exporter, ...] = ()
    cache_imports: tuple[CacheEntry, ...] = ()
    cache_exports: tuple[CacheEntry, ...] = ()
    entitlements: tuple[str, ...] = ()
    internal: bool = False
    source_policy: sourcepolicy_pb2.Policy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SolveResult:
    """What a solve left. `response` is BuildKit's exporter response (containerimage.digest, ...)."""

    ref: str
    response: Mapping[str, str]


Check = Callable[[gateway_pb2.Result], Awaitable[bool]]
"""Looks at the frontend's result before any step runs. False ends the solve there with nothing done; raising ends it with that error."""


def new_ref() -> str:
    """Return a fresh build ref, of the length and alphabet that BuildKit's own clients use."""
    alphabet = "0123456789abcdefghijklmnopqrstuvwxyz"
    return "".join(secrets.choice(alphabet) for _ in range(25))


class _SessionPipe:
    """The raw bytes of Control.Session as a ByteStream."""

    def __init__(self, call: grpc.aio.StreamStreamCall[bytes, bytes], client: BuildkitClient) -> None:
        self._call = call
        self._client = client

    async def receive(self) -> bytes:
        while True:
            data = await self._client.boundary(self._call.read(), "the session")
            if data is grpc.aio.EOF:
                return b""
            if found := session_bytes(data):
                return found

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        await self._client.boundary(self._call.write(bytes(data)), "the session")

    async def send_eof(self) -> None:
        await self._client.boundary(self._call.done_writing(), "the session")

    async def aclose(self) -> None:
        self._call.cancel()


@asynccontextmanager
async def attached(client: BuildkitClient, session: Session) -> AsyncIterator[None]:
    """Serve `session` to the daemon while the body runs. Raises ConnectionLost when the daemon or the link ends it first."""
    body_done = False

    async def serve() -> None:
        pipe = _SessionPipe(client.session_call(session.metadata()), client)
        try:
            await session.serve(pipe)
        finally:
            await pipe.aclose()
        if not body_done:
            raise ConnectionLost("the builder ended this client's session while the build was running")

    with ungrouped():
        async with asyncio.TaskGroup() as group:
            task = group.create_task(serve(), name="session")
            yield
            body_done = True
            task.cancel()


async def run_solve(
    client: BuildkitClient, session: Session, job: SolveJob, *, check: Check, emit: Sink, pool: str = "", ref: str = ""
) -> SolveResult | None:
    """Run `job` with an attached `session`; None when `check` ended it. `ref` is of `new_ref`, for a `check` that has to know it.

    Raises what `check` raised, SolveError, RegistryError, or the session's own failure (an unreadable file, a context that changed).
    When the awaiting task is cancelled the builder is told, and this returns only when its status stream has ended or 10 s have passed.
    """
    ref = ref or new_ref()
    log = FailureLog()

    def forward(update: StatusUpdate) -> None:
        log.add(update)
        emit(update)

    with ungrouped():
        async with asyncio.TaskGroup() as group:
            status = group.create_task(_follow(client, ref, forward, pool), name=f"status {pool}")
            control = group.create_task(_outcome(client, _control_request(ref, session.id, job)), name=f"solve {pool}")
            try:
                kept, failure = await _frontend(client, ref, job, check, control)
                outcome = await control
            except BaseException:
                control.cancel()
                if session.lost:
                    status.cancel()
                await _settle(status)
                raise
            if isinstance(outcome, RpcFailure) and failure is None and not kept:
                status.cancel()  # a solve that was refused has no status, for which the daemon would wait some seconds
            await _settle(status)
    if failure is None and isinstance(outcome, RpcFailure):
        failure = outcome
    if failure is not None:
        raise session.failure or solve_error(failure, log) from failure
    if not kept:
        return None
    assert not isinstance(outcome, RpcFailure)
    check_digests(outcome)
    return SolveResult(ref=ref, response=outcome)


async def _outcome(client: BuildkitClient, request: control_pb2.SolveRequest) -> dict[str, str] | RpcFailure:
    try:
        return await client.solve(request)
    except RpcFailure as failure:
        return failure


async def _frontend(
    client: BuildkitClient, ref: str, job: SolveJob, check: Check, control: asyncio.Task[dict[str, str] | RpcFailure]
) -> tuple[bool, RpcFailure | None]:
    """Ask the frontend for its LLB, check it, hand it back. Returns whether the build goes on, and the daemon's refusal if it refused."""
    try:
        if not await _known(client, ref, control):
            return False, None
        answer = await client.gateway_solve(
            ref,
            gateway_pb2.SolveRequest(
                Definition=job.definition,
                Frontend=job.frontend,
                Evaluate=job.definition is not None,
                FrontendOpt={**job.attrs, **job.question},
                allowResultReturn=True,
                allowResultArrayRef=True,
            ),
        )
    except RpcFailure as failure:
        # When Control.Solve itself was refused, its reason counts: the gateway only says that it knows no such build.
        if control.done():
            return False, None
        await _return_failure(client, ref, failure)
        return False, failure
    go_on = await check(answer.result)
    try:
        await client.gateway_return(ref, gateway_pb2.ReturnRequest(result=answer.result if go_on else gateway_pb2.Result()))
    except RpcFailure as failure:
        return False, failure
    return go_on, None


async def _known(client: BuildkitClient, ref: str, control: asyncio.Task[dict[str, str] | RpcFailure]) -> bool:
    """Wait until the daemon knows the build. False when Control.Solve ended first: the gateway would look for it for some seconds."""
    ping = asyncio.create_task(client.gateway_ping(ref), name="ping")
    try:
        await asyncio.wait({ping, control}, return_when=asyncio.FIRST_COMPLETED)
        if not ping.done():
            return False
        await ping
        return True
    finally:
        ping.cancel()
        await asyncio.wait({ping})


async def _return_failure(client: BuildkitClient, ref: str, failure: RpcFailure) -> None:
    request = gateway_pb2.ReturnRequest()
    with suppress(DecodeError):
        request.error.MergeFromString(failure.details_bin)
    request.error.code = request.error.code or failure.code.value[0]
    request.error.message = request.error.message or failure.message
    try:
        await client.gateway_return(ref, request)
    except RpcFailure:
        return  # the build is gone already, which is what the error was to achieve


def _control_request(ref: str, session_id: str, job: SolveJob) -> control_pb2.SolveRequest:
    exporters = [control_pb2.Exporter(Type=e.type, Attrs=dict(e.attrs)) for e in job.exporters]
    request = control_pb2.SolveRequest(
        Ref=ref,
        Session=session_id,
        FrontendAttrs=dict(job.attrs),
        Exporters=exporters,
        Entitlements=job.entitlements,
        Internal=job.internal,
    )
    if exporters:
        # Daemons before 0.13 know only these two.
        request.ExporterDeprecated = exporters[0].Type
        request.ExporterAttrsDeprecated.update(exporters[0].Attrs)
    if job.source_policy is not None:
        request.SourcePolicy.CopyFrom(job.source_policy)
    request.Cache.SetInParent()
    for entries, found in ((request.Cache.Exports, job.cache_exports), (request.Cache.Imports, job.cache_imports)):
        entries.extend(control_pb2.CacheOptionsEntry(Type=entry.type, Attrs=dict(entry.attrs)) for entry in found)
    return request


async def _follow(client: BuildkitClient, ref: str, forward: Callable[[StatusUpdate], None], pool: str) -> None:
    try:
        async with aclosing(status_updates(client.status(ref), pool=pool)) as updates:
            async for update in updates:
                forward(update)
    except RpcFailure:
        return  # a solve that was refused has no status; its own error is what counts


async def _settle(status: asyncio.Task[None]) -> None:
    """Let the status stream of a finished or cancelled solve end by itself, for some seconds at most."""
    await asyncio.wait({status}, timeout=deadlines().settle)
    status.cancel()
