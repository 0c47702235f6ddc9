"""The daemon's side of a session: an HTTP/2 client on h2 over a pipe in memory that holds little, so that back-pressure is real."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.settings

from kubectl_build.session.rpc import PREFIX, frame
from kubectl_build.session.session import Session

DEADLINE = 20.0


class PipeEnd:
    """One end of a pipe in memory: a ByteStream."""

    def __init__(self, incoming: asyncio.Queue[bytes], outgoing: asyncio.Queue[bytes]) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._ended = False

    async def receive(self) -> bytes:
        if self._ended:
            return b""
        data = await self._incoming.get()
        self._ended = not data
        return data

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        await self._outgoing.put(bytes(data))

    async def send_eof(self) -> None:
        await self._outgoing.put(b"")

    async def aclose(self) -> None:
        pass


def pipe_pair() -> tuple[PipeEnd, PipeEnd]:
    """Return two ends; each direction holds two writes."""
    up: asyncio.Queue[bytes] = asyncio.Queue(2)
    down: asyncio.Queue[bytes] = asyncio.Queue(2)
    return PipeEnd(up, down), PipeEnd(down, up)


class _MessageReader:
    """Cuts what comes into messages, compressed ones too."""

    def __init__(self) -> None:
        self._buffer = b""

    def take(self, data: bytes) -> list[bytes]:
        """Add bytes, and return the messages that are complete."""
        self._buffer += data
        messages = []
        while len(self._buffer) >= PREFIX and len(self._buffer) >= (end := PREFIX + int.from_bytes(self._buffer[1:PREFIX], "big")):
            message = self._buffer[PREFIX:end]
            messages.append(gzip.decompress(message) if self._buffer[0] else message)
            self._buffer = self._buffer[end:]
        return messages


@dataclass
class Call:
    """What came of one call."""

    id: int
    reader: _MessageReader = field(default_factory=_MessageReader)
    messages: list[bytes] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] | None = None

    @property
    def status(self) -> tuple[int, str] | None:
        """Code and message, None while it lasts."""
        return None if self.trailers is None else (int(self.trailers["grpc-status"]), self.trailers.get("grpc-message", ""))


class Peer:
    """A daemon. `acknowledge` off leaves flow-control windows as they are."""

    def __init__(self, pipe: PipeEnd, *, window: int = 1 << 20) -> None:
        self.pipe = pipe
        self.acknowledge = True
        self.received = 0
        self.ping_answered_at: int | None = None
        self.calls: dict[int, Call] = {}
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=True, header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
            )
        )
        self.h2.local_settings = h2.settings.Settings(
            client=True, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window, h2.settings.SettingCodes.ENABLE_PUSH: 0}
        )
        self.h2.initiate_connection()

    async def flush(self) -> None:
        """Write what h2 wants to write."""
        if data := self.h2.data_to_send():
            await self.pipe.send(data)

    async def call(self, method: str, *messages: bytes, headers: Sequence[tuple[str, str]] = (), end: bool = True) -> Call:
        """Start a call with its first messages; `end` ends our side."""
        call = Call(self.h2.get_next_available_stream_id())
        self.calls[call.id] = call
        pseudo = [(":method", "POST"), (":scheme", "http"), (":authority", "localhost"), (":path", method), ("te", "trailers")]
        self.h2.send_headers(call.id, [*pseudo, *headers])
        await self.send(call, *messages)
        if end:
            self.h2.end_stream(call.id)
        await self.flush()
        return call

    async def send(self, call: Call, *messages: bytes, raw: bytes = b"") -> None:
        """Send messages (or raw bytes) on a call, waiting for windows."""
        data = memoryview(b"".join(map(frame, messages)) + raw)
        while data:
            room = min(self.h2.local_flow_control_window(call.id), self.h2.max_outbound_frame_size, len(data))
            if room == 0:
                await self.pump(lambda: self.h2.local_flow_control_window(call.id) > 0)
                continue
            self.h2.send_data(call.id, data[:room])
            data = data[room:]
            await self.flush()
        await self.flush()

    async def pump(self, until: Callable[[], object]) -> None:
        """Take what comes until `until` is true."""
        async with asyncio.timeout(DEADLINE):
            await self.flush()
            while not until():
                data = await self.pipe.receive()
                assert data, "the session ended"
                for event in self.h2.receive_data(data):
                    self._handle(event)
                await self.flush()

    async def finished(self, call: Call) -> tuple[int, str]:
        """Wait for a call's end and return its status."""
        await self.pump(lambda: call.status)
        assert call.status is not None
        return call.status

    def _handle(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.DataReceived():
                self.received += event.flow_controlled_length
                call = self.calls[event.stream_id]
                call.messages += call.reader.take(event.data)
                if self.acknowledge:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.ResponseReceived():
                self.calls[event.stream_id].headers = {str(name): str(value) for name, value in event.headers}
            case h2.events.TrailersReceived():
                self.calls[event.stream_id].trailers = {str(name): str(value) for name, value in event.headers}
            case h2.events.PingAckReceived():
                self.ping_answered_at = self.received
            case _:
                pass


@asynccontextmanager
async def served(session: Session, *, window: int = 1 << 20) -> AsyncIterator[Peer]:
    """Serve `session` to a peer while the body runs, then let the peer end the pipe."""
    ours, theirs = pipe_pair()
    peer = Peer(theirs, window=window)
    async with asyncio.timeout(2 * DEADLINE), asyncio.TaskGroup() as group:
        serving = group.create_task(session.serve(ours))
        yield peer
        drain = group.create_task(_drain(theirs))
        await theirs.send_eof()
        await serving
        drain.cancel()


async def _drain(pipe: PipeEnd) -> None:
    while await pipe.receive():
        pass
