"""The session's HTTP/2 connection, of which we are the server: no I/O, only bytes in, calls out, bytes to write out.

What differs from h2's defaults, and why: every line of a .dockerignore is a header, so header lists may have 16 MiB in any number of
CONTINUATION frames; their values are patterns and come with blanks at their ends; windows are large, since h2's throttle outputs.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, Protocol

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from h2.errors import ErrorCodes
from h2.frame_buffer import FrameBuffer
from hyperframe.frame import Frame

from kubectl_build.errors import ProtocolError
from kubectl_build.session.frames import FrameCutter
from kubectl_build.session.rpc import OK, metadata_of, response_headers, trailers
from kubectl_build.session.stream import ServerStream

MAX_HEADER_LIST: Final = 16 << 20
WINDOW: Final = 16 << 20
_ACKNOWLEDGE_AT: Final = 1 << 20
MAX_METADATA: Final = 4 * MAX_HEADER_LIST
"""Bytes of the headers of all calls in progress. An honest daemon has one call with long ones."""

MAX_UNREAD: Final = 128 << 20
"""Bytes that handlers have not taken yet, of all calls. Beyond it the connection's window stays closed until they have."""

MAX_ANSWERS: Final = 1 << 20
"""Bytes of answers to PING, SETTINGS and the like that wait. Beyond it the daemon is not read until it takes them."""

WRITE_SIZE: Final = 1 << 20
"""The most bulk bytes in one write. PING, SETTINGS and Health wait for one write at most."""

_FRAME_HEADER: Final = struct.Struct(">IBI")
"""Length in 24 bits and type in 8, flags, stream (RFC 9113, 4.1). A DATA frame's type is 0."""

_HEADER_COST: Final = 128
"""Bytes that a header costs besides its text."""

_URGENT_RESERVE: Final = 4096
"""Bytes of the connection's window that bulk data leaves free, so that a Health answer always fits."""


class Callbacks(Protocol):
    """What the connection tells its owner, at once and from within `receive`."""

    def call_started(self, stream_id: int, stream: ServerStream) -> None:
        """The daemon made a call."""

    def call_reset(self, stream_id: int) -> None:
        """The daemon gave a call up."""


class Connection:
    """The protocol's state. After `receive` and whenever `wake` was called there may be something in `next_write`."""

    def __init__(self, callbacks: Callbacks, *, wake: Callable[[], None]) -> None:
        self._callbacks = callbacks
        self._wake = wake
        self._h2 = _h2_connection()
        self._incoming = _LongHeaders(server=True)
        self._incoming.max_frame_size = self._h2.max_inbound_frame_size
        self._h2.incoming_buffer = self._incoming
        self._cutter = FrameCutter(self._readable)
        self._calls: dict[int, _Call] = {}
        self._unacknowledged = 0
        self._unread = 0
        self._metadata_size = 0
        self._control = bytearray()
        self._written: list[bytes | memoryview] = []
        self._ended = False
        self.urgent_answers = 0
        """Urgent calls whose whole answer has been handed out by `next_write`."""

    def receive(self, data: bytes) -> None:
        """Take bytes from the daemon. Raises ProtocolError."""
        try:
            for stream_id, part in self._cutter.cut(data):
                if stream_id:
                    self._plain_data(stream_id, part)
                    continue
                for event in self._h2.receive_data(part):
                    if not self._ended:
                        self._handle(event)
        except h2.exceptions.ProtocolError as exc:
            raise ProtocolError(f"the builder's daemon broke HTTP/2 in the session: {exc}") from exc
        self._control += self._h2.data_to_send()
        self._wake()

    @property
    def congested(self) -> bool:
        """The daemon makes us answer, and does not take the answers: it is not to be read for now."""
        return len(self._control) > MAX_ANSWERS

    @property
    def backlogged(self) -> bool:
        """Bulk data waits for the daemon's windows."""
        return any(call.stream.outgoing for call in self._calls.values())

    def finish(self, stream_id: int, code: int = OK, message: str = "") -> None:
        """End a call with a status, behind what is queued for it. Nothing happens when the daemon has given it up."""
        if call := self._calls.get(stream_id):
            call.status = (code, message)
            self._wake()

    def mark_urgent(self, stream_id: int) -> None:
        """Let this call's answer go before all bulk data."""
        self._calls[stream_id].urgent = True

    def next_write(self, budget: int = WRITE_SIZE) -> bytes:
        """Return what is to be written now, b"" for nothing: control frames, urgent answers, then at most `budget` bytes of the rest."""
        if self._ended:
            return b""
        self._written.append(bytes(self._control))
        self._control.clear()
        for stream_id, call in list(self._calls.items()):
            if call.urgent:
                self._push(stream_id, call, budget, reserve=0)
        for stream_id, call in list(self._calls.items()):
            if budget <= 0:
                break
            if not call.urgent:
                used = self._push(stream_id, call, budget, reserve=_URGENT_RESERVE)
                budget -= used
                if used and stream_id in self._calls:  # to the end of the line
                    self._calls[stream_id] = self._calls.pop(stream_id)
        self._written.append(self._h2.data_to_send())
        data = b"".join(self._written)
        self._written.clear()
        return data

    def _push(self, stream_id: int, call: _Call, budget: int, *, reserve: int) -> int:
        """Move queued bytes of a call into h2 as far as windows and budget allow; end the call when it is done. Return the bytes moved."""
        connection = self._h2
        stream = call.stream
        sent = 0
        if not call.headers_sent and (stream.outgoing or call.status):
            connection.send_headers(stream_id, response_headers(gzip=call.stream.compression is not None))
            call.headers_sent = True
        while stream.outgoing and sent < budget:
            window = min(connection.local_flow_control_window(stream_id), connection.outbound_flow_control_window - reserve)
            if window <= 0:
                break
            chunk = stream.take(min(window, budget - sent))
            self._write_data(stream_id, chunk)
            sent += len(chunk)
        if call.status is not None and not stream.outgoing:
            self._end(stream_id, call, *call.status)
        return sent

    def _write_data(self, stream_id: int, chunk: memoryview) -> None:
        """Frame `chunk`, which fits both windows, and account for it as h2's `send_data` does.

        That copies every byte four times, which was a sixth of the processor time of a large context. The states that it looks at do not
        change by DATA without END_STREAM, and a call that the daemon gave up is not here any more.
        """
        connection = self._h2
        self._written.append(connection.data_to_send())  # its headers come first
        for start in range(0, len(chunk), connection.max_outbound_frame_size):
            part = chunk[start : start + connection.max_outbound_frame_size]
            self._written += (_FRAME_HEADER.pack(len(part) << 8, 0, stream_id), part)
        connection.outbound_flow_control_window -= len(chunk)
        connection.streams[stream_id].outbound_flow_control_window -= len(chunk)

    def _end(self, stream_id: int, call: _Call, code: int, message: str) -> None:
        self._h2.send_headers(stream_id, trailers(code, message), end_stream=True)
        if not call.remote_ended:  # the daemon may stop sending: nobody reads it any more
            self._h2.reset_stream(stream_id, ErrorCodes.NO_ERROR)
        self._forget(stream_id)
        self.urgent_answers += call.urgent

    def _handle(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.DataReceived():
                self._take(event.stream_id, event.data, event.flow_controlled_length)
            case h2.events.RequestReceived():
                self._request(event)
            case h2.events.StreamEnded():
                if call := self._calls.get(event.stream_id):
                    call.remote_ended = True
                    call.stream.feed_end()
            case h2.events.StreamReset():
                if self._forget(event.stream_id):
                    self._callbacks.call_reset(event.stream_id)
            case h2.events.ConnectionTerminated():
                # Nothing may be sent any more. The daemon ends the pipe next, or its silence is noticed.
                self._ended = True
                for stream_id in list(self._calls):
                    self._forget(stream_id)
                    self._callbacks.call_reset(stream_id)
            case _:
                pass  # settings, pings, windows: h2 has answered them, and the next write uses them

    def _request(self, event: h2.events.RequestReceived) -> None:
        stream_id = event.stream_id
        size = sum(len(name) + len(value) + _HEADER_COST for name, value in event.headers)
        self._metadata_size += size
        if self._metadata_size > MAX_METADATA:
            raise ProtocolError(f"the builder's daemon made calls with headers of more than {MAX_METADATA >> 20} MiB")
        metadata = metadata_of(event.headers)
        stream = ServerStream(
            metadata.get(":path", [""])[0], metadata, wake=self._wake, consumed=lambda count: self._consumed(stream_id, count)
        )
        self._calls[stream_id] = _Call(stream, size)
        self._callbacks.call_started(stream_id, stream)

    def _readable(self, stream_id: int) -> bool:
        call = self._calls.get(stream_id)
        return call is not None and not call.remote_ended and not self._incoming.within_headers

    def _plain_data(self, stream_id: int, data: bytes) -> None:
        """Take data in place of h2, with its account of the windows: it raises where the daemon sends more than it may."""
        self._h2._inbound_flow_control_window_manager.window_consumed(len(data))
        self._h2.streams[stream_id]._inbound_window_manager.window_consumed(len(data))
        self._take(stream_id, data, len(data))

    def _take(self, stream_id: int, data: bytes, flow_controlled_length: int) -> None:
        # The connection's window is given back at once, so that one slow handler starves nobody; a stream's when its handler has read.
        self._unacknowledged += flow_controlled_length
        if call := self._calls.get(stream_id):
            call.unread_padding += flow_controlled_length - len(data)
            call.unread += len(data)
            self._unread += len(data)
            call.stream.feed(data)
        self._open_window()

    def _open_window(self) -> None:
        if self._unacknowledged >= _ACKNOWLEDGE_AT and self._unread <= MAX_UNREAD and not self._ended:
            self._h2.increment_flow_control_window(self._unacknowledged)
            self._unacknowledged = 0
            self._wake()

    def _forget(self, stream_id: int) -> bool:
        """Let go of a call and what is held of it. Tells whether there was one."""
        call = self._calls.pop(stream_id, None)
        if call is None:
            return False
        self._metadata_size -= call.metadata_size
        self._unread -= call.unread
        self._open_window()
        return True

    def _consumed(self, stream_id: int, count: int) -> None:
        call = self._calls.get(stream_id)
        if call is None:
            return
        call.unread -= count
        self._unread -= count
        self._open_window()
        if call.remote_ended:
            return
        call.unacknowledged += count + call.unread_padding
        call.unread_padding = 0
        if call.unacknowledged >= _ACKNOWLEDGE_AT:
            self._h2.increment_flow_control_window(call.unacknowledged, stream_id)
            call.unacknowledged = 0
            self._wake()


class _Call:
    __slots__ = (
        "headers_sent",
        "metadata_size",
        "remote_ended",
        "status",
        "stream",
        "unacknowledged",
        "unread",
        "unread_padding",
        "urgent",
    )

    def __init__(self, stream: ServerStream, metadata_size: int) -> None:
        self.stream = stream
        self.metadata_size = metadata_size
        self.unread = 0
        self.status: tuple[int, str] | None = None
        self.headers_sent = False
        self.remote_ended = False
        self.urgent = False
        self.unacknowledged = 0
        self.unread_padding = 0


def _h2_connection() -> h2.connection.H2Connection:
    connection = h2.connection.H2Connection(
        h2.config.H2Configuration(
            client_side=False,
            header_encoding=None,
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
    )
    connection.local_settings = h2.settings.Settings(
        client=False,
        initial_values={
            h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST,
            h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
            h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1000,
        },
    )
    connection.decoder.max_header_list_size = MAX_HEADER_LIST
    connection.initiate_connection()
    connection.increment_flow_control_window(WINDOW)
    return connection


class _LongHeaders(FrameBuffer):
    """h2's frame reader without its limit of 64 CONTINUATION frames: what has come of a header block is kept as one frame."""

    @property
    def within_headers(self) -> bool:
        """A header block has begun and not ended: no other frame may come."""
        return bool(self._headers_buffer)

    def _update_header_buffer(self, f: Frame | None) -> Frame | None:
        complete = super()._update_header_buffer(f)
        parts = self._headers_buffer
        if len(parts) >= 32:
            first = parts[0]
            first.data = b"".join(part.data for part in parts)
            if len(first.data) > MAX_HEADER_LIST:
                raise h2.exceptions.ProtocolError(f"a header block of more than {MAX_HEADER_LIST} bytes")
            self._headers_buffer = [first]
        return complete
