"""The stream that progress is written to, behind a thread: a terminal that is stopped or slow never holds up the build."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import select
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TextIO

_RETRY_SECONDS = 1.0
"""How often a stream that another program has made non-blocking is tried again when the system does not say that it is writable."""


_MOST_WAITING = 64 * 1024 * 1024
"""Characters that are kept for a reader that has stopped. A build of many steps can print far more: BuildKit allows 2 MiB for each."""


class Output:
    """Takes text at any time and writes it in order. A stream that is closed or fails is not written to again, and no error is raised.

    Of text that nobody reads `limit` characters are kept; what comes then is left out, and `lost` says what stands in its place, from how
    many characters it was.
    """

    def __init__(self, stream: TextIO, *, lost: Callable[[int], str], limit: int = _MOST_WAITING) -> None:
        self._stream = stream
        self._encoding = stream.encoding or "utf-8"
        self._write_all = _writer(stream, self._encoding)
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._waiting = 0  # characters
        self._limit = limit
        self._lost = lost
        self._left_out = 0
        self._lock = threading.Lock()

    @property
    def encoding(self) -> str:
        return self._encoding

    @property
    def idle(self) -> bool:
        """True when all that was written has left."""
        return self._waiting == 0

    def write(self, text: str, *, last: bool = False) -> None:
        """Queues text; returns at once. A character that the stream cannot encode is written as an escape. The `last` text is always
        taken."""
        if not text:
            return
        with self._lock:
            if self._waiting + len(text) > self._limit and self._waiting and not last:
                self._left_out += len(text)
                return
            if self._left_out:
                text = self._lost(self._left_out) + text
                self._left_out = 0
            self._waiting += len(text)
        self._queue.put(text)

    def close(self) -> None:
        """Says that nothing more comes."""
        self._queue.put(None)

    def run(self, ended: Callable[[], None]) -> None:
        """The thread: writes until `close`, then calls `ended`."""
        working = True
        more = True
        while more:
            batch, more = self._batch()
            text = "".join(batch)
            if working and text:
                try:
                    self._write_all(text)
                except (OSError, ValueError):  # the reader has gone, or the stream is closed: the build matters more than its picture
                    working = False
            with self._lock:
                self._waiting -= len(text)
        ended()

    def _batch(self) -> tuple[list[str], bool]:
        item = self._queue.get()
        batch: list[str] = []
        while item is not None:
            batch.append(item)
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False


@asynccontextmanager
async def open_output(stream: TextIO, *, lost: Callable[[int], str], limit: int = _MOST_WAITING) -> AsyncIterator[Output]:
    """Opens an Output of these. Leaving waits until all is written, with no deadline, as any program waits for the reader of its output;
    cancelling ends that wait and leaves the rest unwritten."""
    loop = asyncio.get_running_loop()
    written = loop.create_future()

    def tell() -> None:
        if not written.done():
            written.set_result(None)

    def ended() -> None:
        with contextlib.suppress(RuntimeError):  # nobody waits any more: the loop is closed
            loop.call_soon_threadsafe(tell)

    output = Output(stream, lost=lost, limit=limit)
    threading.Thread(target=output.run, args=(ended,), name="progress", daemon=True).start()
    try:
        yield output
    finally:
        output.close()
        await written


def _writer(stream: TextIO, encoding: str) -> Callable[[str], None]:
    """How to write all of a text. To the descriptor where there is one: text layers lose data on a non-blocking stream."""
    try:
        descriptor = stream.fileno()
        stream.flush()
    except (OSError, ValueError, AttributeError):
        descriptor = -1
    if descriptor < 0 or os.name != "posix":
        return lambda text: _write_text(stream, text, encoding)
    return lambda text: _write_bytes(descriptor, text.encode(encoding, "backslashreplace"))


def _write_text(stream: TextIO, text: str, encoding: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _write_bytes(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [], _RETRY_SECONDS)
