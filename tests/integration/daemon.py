"""A real buildkitd on a unix socket, and the few calls on it that the session's tests need."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio

from kubectl_build.errors import ConnectionLost
from kubectl_build.proto import control_pb2
from kubectl_build.session.session import Session
from tests.cluster import tools

_CONTROL = "/moby.buildkit.v1.Control/"
_MAX = 16 << 20


class SessionPipe:
    """Control.Session's bytes as a ByteStream. Counts what went to the daemon."""

    def __init__(self, call: grpc.aio.StreamStreamCall) -> None:
        self._call = call
        self.sent = 0

    async def receive(self) -> bytes:
        try:
            message = await self._call.read()
        except grpc.aio.AioRpcError as exc:
            raise ConnectionLost(str(exc.details())) from exc
        return b"" if message is grpc.aio.EOF else bytes(message.data)

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += len(data)
        await self._call.write(control_pb2.BytesMessage(data=bytes(data)))

    async def send_eof(self) -> None:
        await self._call.done_writing()

    async def aclose(self) -> None:
        self._call.cancel()


class Daemon:
    """A channel to a daemon."""

    def __init__(self, channel: grpc.aio.Channel, socket: Path) -> None:
        self._channel = channel
        self._socket = socket

    async def settled(self) -> None:
        """Wait until no context is in use: one that is still held by an earlier build is not compared with, but sent again.

        Other records may stay in use for ever: a daemon keeps what a cancelled RUN has mounted.
        """
        buildctl = tools.ensure(["buildctl"])["buildctl"]
        async with asyncio.timeout(20):
            in_use = True
            while in_use:
                process = await asyncio.create_subprocess_exec(
                    buildctl, "--addr", f"unix://{self._socket}", "du", "--format", "{{json .}}", stdout=asyncio.subprocess.PIPE
                )
                output, _ = await process.communicate()
                in_use = any(record["inUse"] and record["recordType"] == "source.local" for record in json.loads(output) or ())

    @asynccontextmanager
    async def attached(self, session: Session) -> AsyncIterator[SessionPipe]:
        """Serve `session` while the body runs."""
        call = self._channel.stream_stream(
            _CONTROL + "Session",
            request_serializer=control_pb2.BytesMessage.SerializeToString,
            response_deserializer=control_pb2.BytesMessage.FromString,
        )(metadata=session.metadata())
        pipe = SessionPipe(call)
        try:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(session.serve(pipe))
                try:
                    yield pipe
                finally:
                    task.cancel()
                    await pipe.aclose()
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def solve(
        self,
        session: Session,
        *,
        attrs: Mapping[str, str] | None = None,
        exporters: tuple[control_pb2.Exporter, ...] = (),
    ) -> Mapping[str, str]:
        """Run the Dockerfile frontend with the session's directories; return the exporter response."""
        request = control_pb2.SolveRequest(
            Ref=secrets.token_hex(12), Session=session.id, Frontend="dockerfile.v0", FrontendAttrs=dict(attrs or {}), Exporters=exporters
        )
        solve = self._channel.unary_unary(
            _CONTROL + "Solve",
            request_serializer=control_pb2.SolveRequest.SerializeToString,
            response_deserializer=control_pb2.SolveResponse.FromString,
        )
        response = await solve(request)
        return dict(response.ExporterResponse)


@asynccontextmanager
async def connect(socket: Path) -> AsyncIterator[Daemon]:
    """Open a channel to the daemon behind `socket`."""
    options = (("grpc.max_receive_message_length", _MAX), ("grpc.max_send_message_length", _MAX), ("grpc.default_authority", "localhost"))
    async with grpc.aio.insecure_channel(f"unix:{socket}", options=options) as channel:
        yield Daemon(channel, socket)
