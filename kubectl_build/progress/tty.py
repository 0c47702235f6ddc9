"""Progress on a terminal: one picture that is drawn over itself, with notes above it that stay.

rich colours the text. The picture is moved by hand and not by rich.live, which loses its place when the terminal is made narrower and
has a thread of its own.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from typing import Literal, TextIO

from rich.console import Console
from rich.text import Text

from kubectl_build.model.events import BuildEvent, Note, Placed, Reached, Sending, StatusUpdate
from kubectl_build.progress.escape import clean
from kubectl_build.progress.picture import Picture
from kubectl_build.progress.state import State
from kubectl_build.progress.warnings import Warnings

_LOG_LIMIT = 20
"""Lines kept of a running step; some are blank and are not shown."""
_COUNT_LINE = 1
"""Which of the warnings' lines tells how many there are; it alone has a colour."""
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_HOLD, _SHOW = "\x1b[?2026h", "\x1b[?2026l"
"""Synchronized update: terminals that know it show what stands between these at once; others ignore it."""
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"
_END_OF_LINE, _REST_OF_SCREEN = "\x1b[K", "\x1b[J"


class TtyView:
    """Turns events into text and cursor movements for `stream`, whose size is asked for at each picture. Writes nothing itself."""

    redraws = True

    def __init__(self, stream: TextIO, environ: Mapping[str, str], *, began: float, verbose: bool = False, details: bool = False) -> None:
        encoding = stream.encoding or "utf-8"
        self._stream = stream
        self._environ = environ
        self._warnings = Warnings(details=details)
        self._state = State(log_limit=_LOG_LIMIT)
        self._picture = Picture(self._state, encoding=encoding, began=began, verbose=verbose)
        self._encoding = encoding
        self._above: list[Text] = []
        self._widths: list[int] = []  # of the lines of the picture that is on the screen
        self._console = Console(
            file=io.StringIO(),
            force_terminal=True,
            no_color=bool(environ.get("NO_COLOR")),
            color_system=_color_system(environ),
            legacy_windows=False,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def apply(self, event: BuildEvent, now: float) -> None:
        """Takes over an event. What it changes is seen in the next picture."""
        if isinstance(event, StatusUpdate):
            self._warnings.add(event)
            self._state.update(event, now)
        elif isinstance(event, Placed):
            self._state.place(event)
        elif isinstance(event, Reached):
            self._state.reach(event)
        elif isinstance(event, Sending):
            self._state.send(event)
        elif isinstance(event, Note):
            self._take_note(event)

    def refresh(self, now: float) -> str:
        """The next picture, drawn over the last one."""
        width, height = self._size()
        return self._paint(self._picture.live(now, width, height), width)

    def finish(self, now: float) -> str:
        """The picture that stays. It may be longer than the screen."""
        self._state.waits.clear()
        width, _ = self._size()
        return self._paint(self._picture.final(now, width), width) + self._render(self._last_lines())

    def _last_lines(self) -> list[Text]:
        lines = [line.encode(self._encoding, "replace").decode(self._encoding) for line in self._warnings.lines()]
        return [Text(line, "yellow" if number == _COUNT_LINE else "") for number, line in enumerate(lines)]

    def _take_note(self, note: Note) -> None:
        if note.level == "wait":
            self._state.note(note)
        elif note.level != "plan":  # the picture shows it
            self._above += self._note(note).wrap(self._console, self._size()[0], tab_size=8)

    def _note(self, note: Note) -> Text:
        text = clean(note.text).encode(self._encoding, "replace").decode(self._encoding)
        return Text(f"warning: {text}", "yellow") if note.level == "warning" else Text.from_ansi(text)

    def _paint(self, lines: Sequence[Text], width: int) -> str:
        if not lines and not self._above and not self._widths:
            return ""
        # terminals break the lines of the old picture anew when they are made narrower, so it may be higher than it was drawn
        rows = sum(max(1, -(-cells // width)) for cells in self._widths)
        out = [_HOLD, _HIDE_CURSOR, "\r", f"\x1b[{rows}A" if rows else ""]
        if self._above:
            out += [_REST_OF_SCREEN, self._render(self._above)]
            self._above = []
        picture = self._render(lines).replace("\n", f"{_END_OF_LINE}\n")
        out += [_NO_WRAP, picture, _REST_OF_SCREEN, _WRAP, _SHOW_CURSOR, _SHOW]
        self._widths = [line.cell_len for line in lines]
        return "".join(out)

    def _render(self, lines: Sequence[Text]) -> str:
        with self._console.capture() as capture:
            for line in lines:
                self._console.print(line, soft_wrap=True)
        return capture.get()

    def _size(self) -> tuple[int, int]:
        """Columns and rows. A terminal that does not know them (0) is taken for the usual one."""
        try:
            columns, rows = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            columns, rows = 0, 0
        return columns or _number(self._environ.get("COLUMNS"), 80), rows or _number(self._environ.get("LINES"), 24)


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and int(text) else default


def _color_system(environ: Mapping[str, str]) -> Literal["standard", "256", "truecolor"]:
    """Our own colours are of the standard sixteen; steps may write any."""
    if environ.get("COLORTERM") in ("truecolor", "24bit"):
        return "truecolor"
    return "256" if "256color" in environ.get("TERM", "") else "standard"
