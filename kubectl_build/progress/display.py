"""The one door of this package: opens the display that a build's events go to."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Literal, Protocol, TextIO

from kubectl_build.model.events import BuildEvent
from kubectl_build.progress.output import Output, open_output
from kubectl_build.progress.plain import PlainView
from kubectl_build.progress.quiet import QuietView
from kubectl_build.progress.rawjson import RawJsonView
from kubectl_build.progress.units import format_bytes

Mode = Literal["auto", "plain", "tty", "rawjson", "quiet"]

_INTERVAL = 0.1
"""Seconds between two pictures. BuildKit's own displays redraw as often."""


class View(Protocol):
    """Turns events into text for a stream. Pure: it does not know the time and writes nothing.

    `redraws` says that each text replaces the one before, so that it need not be asked for while that has not left.
    """

    redraws: bool

    def apply(self, event: BuildEvent, now: float) -> None:
        """Takes over an event; cheap, since a build has hundreds of thousands."""

    def refresh(self, now: float) -> str:
        """What to write now; called some ten times a second, also when nothing has happened."""

    def finish(self, now: float) -> str:
        """What to write last."""


class Display:
    """Draws a build. `update` is a Sink: it neither blocks nor raises, whatever becomes of the terminal."""

    def __init__(self, view: View, output: Output, loop: asyncio.AbstractEventLoop) -> None:
        self._view = view
        self._output = output
        self._loop = loop
        self._drawn = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def update(self, event: BuildEvent) -> None:
        """Takes over an event. It is drawn at once, or with others a tenth of a second later. Belongs to the loop's thread;
        events after the display is closed are dropped."""
        if self._closed:
            return
        self._view.apply(event, time.time())
        if self._loop.time() - self._drawn >= _INTERVAL:
            self._draw()

    def start(self) -> None:
        """Draws the first picture and begins to redraw."""
        self._draw()

    def close(self) -> None:
        """Draws the last picture."""
        self._closed = True
        if self._timer:
            self._timer.cancel()
        self._output.write(self._view.finish(time.time()), last=True)

    def _draw(self) -> None:
        # a picture that has not left yet is not followed by another: a slow terminal gets fewer pictures, not late ones
        if self._output.idle or not self._view.redraws:
            self._output.write(self._view.refresh(time.time()))
        self._drawn = self._loop.time()
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(_INTERVAL, self._draw)


@asynccontextmanager
async def open_display(
    mode: Mode, stream: TextIO, *, environ: Mapping[str, str], verbose: bool = False, details: bool = False
) -> AsyncIterator[Display]:
    """Opens the display of `mode` on `stream`. Leaving draws the complete last picture and waits until it is written.

    `verbose` leaves every step on the terminal, `details` tells of each warning in full.
    auto is tty on a terminal that can move its cursor and outside of CI, else plain; tty where it is not possible is plain too.
    """
    view = _view(mode, stream, environ, verbose=verbose, details=details)
    async with open_output(stream, lost=_lost if isinstance(view, PlainView) else _nothing) as output:
        display = Display(view, output, asyncio.get_running_loop())
        display.start()
        try:
            yield display
        finally:
            display.close()


def _lost(characters: int) -> str:
    return f"\n#0 WARN: {format_bytes(characters)} of progress are left out here: nobody read it in time\n\n"


def _nothing(_characters: int) -> str:
    """What a program reads has no place for words about what it has not read."""
    return ""


def _view(mode: Mode, stream: TextIO, environ: Mapping[str, str], *, verbose: bool, details: bool) -> View:
    if mode == "rawjson":
        return RawJsonView()
    if mode == "quiet":
        return QuietView()
    wanted = mode == "tty" or (mode == "auto" and not environ.get("CI"))
    if wanted and _can_draw(stream, environ):
        from kubectl_build.progress.tty import TtyView  # costs the import of rich, which only this view needs

        return TtyView(stream, environ, began=time.time(), verbose=verbose, details=details)
    return PlainView(details=details)


def _can_draw(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """True for a terminal that can move its cursor."""
    try:
        terminal = stream.isatty() and environ.get("TERM", "") not in ("dumb", "unknown")
    except ValueError:  # the stream is closed
        return False
    if terminal and os.name == "nt":
        from rich.console import detect_legacy_windows  # consoles before Windows 10 know no escape sequences

        return not detect_legacy_windows()
    return terminal
