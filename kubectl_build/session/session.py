"""A client's session with one daemon: the calls of the daemon on the attachables, carried by Control.Session."""

from __future__ import annotations

import asyncio
import secrets
import string
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from google.protobuf.message import DecodeError

from kubectl_build.deadlines import deadlines
from kubectl_build.errors import ConnectionLost, KubectlBuildError
from kubectl_build.model.request import CompressContext
from kubectl_build.model.stream import ByteStream
from kubectl_build.session.compression import Compression, SendRate
from kubectl_build.session.connection import WRITE_SIZE, Connection
from kubectl_build.session.memory import keep_freed_memory
from kubectl_build.session.rpc import INTERNAL, OK, UNIMPLEMENTED, UNKNOWN, Attachable, Handler, RpcError, frame
from kubectl_build.session.stream import ServerStream

HEALTH_METHOD: Final = "/grpc.health.v1.Health/Check"
_SERVING: Final = frame(b"\x08\x01")  # grpc.health.v1.HealthCheckResponse{status: SERVING}

_TICK: Final = 1.0

_WORTH_TELLING: Final = 0.6
"""The part of the limit after which a silence is told: two checks should have come by then."""

_GIVEN_UP: Final = 45.0
"""Seconds after which the daemon has given up a client that was stopped, or whose machine slept.

It asks after 5 s at most, waits 15 s for the answer, and half as long again for that to the next (BuildKit v0.31: session/grpc.go).
"""

_clock = partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.time
"""A clock that goes on while the machine sleeps."""


class Session:
    """The attachables of one client under one ID. `serve` is called once, for one connection."""

    def __init__(
        self,
        *,
        shared_key: str,
        attachables: Sequence[Attachable],
        compress: CompressContext = CompressContext.AUTO,
        id: str | None = None,
    ) -> None:
        """`shared_key` tells the daemon whose earlier context a context may be compared with (session.shared_key)."""
        self.id = id or "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(25))
        self.shared_key = shared_key
        self.compress = compress
        self.failure: KubectlBuildError | None = None
        """The first error of a handler that the user should see in place of what the daemon makes of it."""
        self.on_silence: Callable[[float], None] = _ignore
        """Told when the daemon has been silent for so many seconds that the user should know of it, and with 0 when it no longer is."""
        self.lost = False
        """Whether the link or the daemon has ended the session: nothing more is to be expected of either."""
        methods: dict[str, Handler] = {HEALTH_METHOD: _check}
        for attachable in attachables:
            methods.update(attachable.methods)
        self._methods: Mapping[str, Handler] = methods

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata of Control.Session."""
        return (
            ("x-docker-expose-session-uuid", self.id),
            ("x-docker-expose-session-sharedkey", self.shared_key),
            *(("x-docker-expose-session-grpc-method", method) for method in self._methods),
        )

    async def serve(self, pipe: ByteStream) -> None:
        """Answer the daemon until it ends the pipe. The pipe stays the caller's, who closes it.

        Raises ConnectionLost when the pipe breaks or no Health check has come for `deadlines().health` after our last answer has left,
        ProtocolError when the daemon breaks HTTP/2. Cancelling it cancels the calls in progress.
        """
        keep_freed_memory()
        server = _Server(self, self._methods, pipe)
        try:
            await server.run()
            self.lost = True
        except BaseExceptionGroup as group:
            self.lost = True
            known, other = group.split(KubectlBuildError)
            if known is None or other is not None:
                raise
            raise _first(known) from group

    def note_failure(self, failure: KubectlBuildError) -> None:
        """Remember a handler's error, unless there was one before."""
        if self.failure is None:
            self.failure = failure


class _Server:
    def __init__(self, session: Session, methods: Mapping[str, Handler], pipe: ByteStream) -> None:
        self._session = session
        self._methods = methods
        self._pipe = pipe
        self._wake = asyncio.Event()
        self._taken = asyncio.Event()
        self._connection = Connection(self, wake=self._wake.set)
        self._rate = SendRate()
        self._compression = Compression(session.compress, self._rate)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._group = asyncio.TaskGroup()
        self._health_asked = 0
        self._health_answered = 0
        self._silence = 0.0
        self._write_began: float | None = None

    async def run(self) -> None:
        async with self._group as group:
            helpers = [group.create_task(self._write(), name="session write"), group.create_task(self._watch(), name="session watch")]
            await self._read()
            for task in (*helpers, *self._tasks.values()):
                task.cancel()

    async def _read(self) -> None:
        while data := await self._pipe.receive():
            self._connection.receive(data)
            while self._connection.congested:
                self._taken.clear()
                await self._taken.wait()

    async def _write(self) -> None:
        while True:
            while data := self._connection.next_write(min(WRITE_SIZE, self._rate.write_size)):
                answers = self._connection.urgent_answers
                self._rate.begin()
                await self._send(data)
                self._rate.sent(len(data))
                self._taken.set()
                if answers != self._health_answered:
                    self._health_answered = answers
                    self._silence = 0.0
            if not self._connection.backlogged:
                self._rate.rest()
            self._wake.clear()
            await self._wake.wait()

    async def _send(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(deadlines().transfer):
                await self._pipe.send(data)
        except TimeoutError as exc:
            raise ConnectionLost(f"the builder has taken no data for {deadlines().transfer:g} s") from exc

    async def _watch(self) -> None:
        """Count the seconds of silence. Ours do not count: after a pause of this process what the daemon sent meanwhile is still unread."""
        loop = asyncio.get_running_loop()
        limit, told = deadlines().health, False
        while self._silence < limit:
            if told != (self._silence >= limit * _WORTH_TELLING):
                told = not told
                self._session.on_silence(self._silence if told else 0.0)
            before, slept = loop.time(), _clock()
            await asyncio.sleep(_TICK)
            if (stopped := _clock() - slept) > _GIVEN_UP:
                raise ConnectionLost(f"this program or machine was stopped for {stopped:.0f} s, and the builder has given it up")
            if self._health_asked == self._health_answered:
                self._silence += min(loop.time() - before, 2 * _TICK)
        lost = ConnectionLost(
            f"the builder has not asked for this client's health for {limit:g} s, although it does so every 5 s",
            hint="the network or the builder's pod may be gone; run the same command again: finished steps are cached",
        )
        lost.silent = True
        raise lost

    def call_started(self, stream_id: int, stream: ServerStream) -> None:
        """Callbacks.call_started."""
        if stream.method == HEALTH_METHOD:
            self._connection.mark_urgent(stream_id)
            self._health_asked += 1
        elif self._compression.offered(stream.metadata):
            stream.compression = self._compression
        task = self._group.create_task(self._answer(stream_id, stream), name=f"session {stream.method}")
        self._tasks[stream_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(stream_id, None))

    def call_reset(self, stream_id: int) -> None:
        """Callbacks.call_reset."""
        if task := self._tasks.get(stream_id):
            task.cancel()

    async def _answer(self, stream_id: int, stream: ServerStream) -> None:
        handler = self._methods.get(stream.method)
        try:
            if handler is None:
                raise RpcError(UNIMPLEMENTED, f"this client does not serve {stream.method}")
            await handler(stream)
        except RpcError as exc:
            self._connection.finish(stream_id, exc.code, exc.message)
        except DecodeError:
            self._connection.finish(stream_id, INTERNAL, f"a message to {stream.method[:100]} cannot be read")
        except KubectlBuildError as exc:
            self._session.note_failure(exc)
            self._connection.finish(stream_id, UNKNOWN, exc.message)
        except ExceptionGroup as group:
            known, other = group.split((KubectlBuildError, RpcError, DecodeError))
            if known is None or other is not None:
                raise
            first = _first(known)
            if isinstance(first, KubectlBuildError):
                self._session.note_failure(first)
            self._connection.finish(stream_id, getattr(first, "code", UNKNOWN), str(first))
        else:
            self._connection.finish(stream_id, OK)


def _ignore(_seconds: float) -> None:
    """Whom nobody has asked to tell of a silence."""


async def _check(stream: ServerStream) -> None:
    await stream.receive_one()
    await stream.send(_SERVING)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first exception in a tree of groups."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
