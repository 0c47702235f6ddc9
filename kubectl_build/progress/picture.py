"""What the live view shows: the state laid out as lines for a terminal of some size. Pure; needs rich for styled text.

While the build runs the picture always fits the terminal: a headline, the steps that have ended as far as there is room, the running
steps with their transfers and the end of their output, and what is waited for. The last picture has every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from kubectl_build.model.events import VertexStatus
from kubectl_build.progress.escape import clean_line, last_overwrite
from kubectl_build.progress.state import State, Step
from kubectl_build.progress.units import format_amount, format_bytes

_LOG_LINES = 6
_STATUS_LINES = 4
_BAR_CELLS = 20
_BAR_MIN_WIDTH = 70
"""Narrower terminals have no bars."""
_MIN_NAME_CELLS = 12
"""With less room for the name, the column on the right is left out."""
_RATE_SECONDS = 0.5
"""A rate over less time says nothing."""
_LAYER_PREFIXES = ("sha256:", "extracting sha256:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """The signs of the picture, each one cell wide but for `ellipsis`."""

    done: str
    failed: str
    canceled: str
    waiting: str
    running: str
    log: str
    warning: str
    full: str
    empty: str
    ellipsis: str


UNICODE = Glyphs(
    done="✔", failed="✘", canceled="○", waiting="◌", running="⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", log="│", warning="!", full="━", empty="─", ellipsis="…"
)
ASCII = Glyphs(done="+", failed="x", canceled="o", waiting=".", running="-\\|/", log="|", warning="!", full="#", empty="-", ellipsis="...")


def glyphs_for(encoding: str) -> Glyphs:
    """The best signs that `encoding` can write."""
    try:
        "".join([UNICODE.done, UNICODE.failed, UNICODE.canceled, UNICODE.waiting, UNICODE.running, UNICODE.log]).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


class Picture:
    """Lays out `state` for a stream of `encoding`. `began` is when the command began, for the headline."""

    def __init__(self, state: State, *, encoding: str, began: float) -> None:
        self._state = state
        self._encoding = encoding
        self._glyphs = glyphs_for(encoding)
        self._began = began

    def live(self, now: float, width: int, height: int) -> list[Text]:
        """The picture of a running build: at most `height - 1` lines of at most `width - 1` cells. Empty before anything has begun."""
        if not self._state.order and not self._state.waits:
            return []
        room = max(1, height - 1)
        waits = [
            self._row(Text(f" {self._glyphs.waiting} {text}", "yellow"), "", width) for text in map(clean_line, self._state.waits.values())
        ]
        waits = waits[: room - 1]
        room -= 1 + len(waits)
        running = [step for step in self._state.order if step.running]
        ended = [step for step in self._state.order if step.completed]
        now_running = self._running(running, now, width, room, keep=min(len(ended), (room - len(running)) // 3))
        return [
            self._headline("Building", now, width),
            *self._ended(ended, now, width, room - len(now_running)),
            *now_running,
            *waits,
        ]

    def final(self, now: float, width: int) -> list[Text]:
        """The last picture: every step with what it left behind. Empty when no step has begun."""
        if not self._state.order:
            return []
        lines = [self._headline(self._outcome(), now, width)]
        for step in self._state.order:
            lines.append(self._step(step, now, width, final=True))
            lines += [self._status(step, status, now, width) for status in step.shown_statuses if not status.id.startswith(_LAYER_PREFIXES)]
            lines += [self._row(Text(f"   {self._glyphs.warning} {clean_line(w.short)}", "yellow"), "", width) for w in step.warnings]
            if step.failed:
                lines.append(self._row(Text(f"   {clean_line(step.error)}", "red"), "", width))
        return lines

    def _outcome(self) -> str:
        if any(step.failed for step in self._state.order):
            return "Failed"
        if any(step.canceled or not step.completed for step in self._state.order):
            return "Stopped"
        return "Finished"

    def _headline(self, word: str, now: float, width: int) -> Text:
        completed, total = self._state.counts()
        cached = sum(step.cached for step in self._state.order)
        text = Text(word, "bold red" if word == "Failed" else "bold")
        text.append(
            f"  {_duration(now - self._began)}  {completed}/{total} steps" if total else f"  {_duration(now - self._began)}", "not bold"
        )
        if cached:
            text.append(f"  {cached} cached", "dim")
        return self._row(text, "", width)

    def _ended(self, ended: Sequence[Step], now: float, width: int, room: int) -> list[Text]:
        """The newest steps that have ended; cached and older ones are only counted."""
        if room <= 0:
            return []
        own = [step for step in ended if not step.cached or step.error]
        fits = len(own) == len(ended) and len(own) <= room
        shown = own if fits else own[len(own) - min(len(own), room - 1) :]
        folded = len(ended) - len(shown)
        lines = [self._step(step, now, width) for step in shown]
        if folded:
            cached = sum(step.cached for step in ended)
            words = f"{folded} {'step' if folded == 1 else 'steps'} done" + (f", {cached} cached" if cached else "")
            lines.insert(0, self._row(Text(f" {self._glyphs.done} {words}", "dim"), "", width))
        return lines

    def _running(self, running: Sequence[Step], now: float, width: int, room: int, *, keep: int) -> list[Text]:
        """The running steps, with details where there is room; `keep` lines are left for others."""
        if not running or room <= 0:
            return []
        if len(running) > room:
            more = len(running) - room + 1
            lines = [self._step(step, now, width) for step in running[more:]]
            return [*lines, self._row(Text(f" {self._glyphs.ellipsis} {more} more running", "dim"), "", width)]
        spare = max(0, room - len(running) - max(0, keep))
        lines = []
        for position, step in enumerate(running):
            details = self._details(step, now, width, spare // (len(running) - position))
            spare -= len(details)
            lines += [self._step(step, now, width), *details]
        return lines

    def _details(self, step: Step, now: float, width: int, room: int) -> list[Text]:
        statuses = [status for status in step.shown_statuses if status.completed is None][: min(room, _STATUS_LINES)]
        lines = [self._status(step, status, now, width) for status in statuses]
        count = min(room - len(lines), _LOG_LINES)
        if count > 0:
            shown = [line for line in step.log.lines if line.text.strip()][-count:]
            lines += [self._log(line.text, width) for line in shown]
        return lines

    def _step(self, step: Step, now: float, width: int, *, final: bool = False) -> Text:
        glyphs = self._glyphs
        right = _duration(self._state.seconds(step, now))
        if step.failed:
            sign, style = glyphs.failed, "red"
        elif step.canceled:
            sign, style, right = glyphs.canceled, "yellow", "canceled"
        elif step.running and final:
            sign, style, right = glyphs.canceled, "yellow", "stopped"
        elif step.running:
            sign, style = glyphs.running[int(now * 10) % len(glyphs.running)], "cyan"
        else:
            sign, style = glyphs.done, "green"
            right = "cached" if step.cached else right
        left = Text.assemble((f" {sign} ", style), (step.label, "dim" if step.cached else "red" if step.failed else ""))
        return self._row(left, right, width)

    def _status(self, step: Step, status: VertexStatus, now: float, width: int) -> Text:
        left = Text(f"   {clean_line(status.id)}", "dim")
        right = format_amount(status.current, status.total)
        if status.completed is None and step.running:
            if status.total and width >= _BAR_MIN_WIDTH:
                filled = min(_BAR_CELLS, _BAR_CELLS * status.current // status.total)
                left.append(" ").append(self._glyphs.full * filled, "cyan").append(self._glyphs.empty * (_BAR_CELLS - filled))
            seconds = (status.timestamp or 0.0) - (status.started or 0.0)
            if status.current and seconds > _RATE_SECONDS:
                right += f"  {format_bytes(int(status.current / seconds))}/s"
        elif status.completed is not None:
            right += f"  {_duration(self._state.status_seconds(step, status, now))}"
        return self._row(left, right.strip(), width)

    def _log(self, line: str, width: int) -> Text:
        text = Text(f"   {self._glyphs.log} ", "dim")
        text.append_text(Text.from_ansi(last_overwrite(line).expandtabs(), style="dim"))
        return self._row(text, "", width)

    def _row(self, left: Text, right: str, width: int) -> Text:
        """One line: `left` cut to what is left beside `right`. The last column stays empty, since some terminals wrap after it."""
        limit = max(1, width - 1)
        room = limit - cell_len(right) - 1 if right else limit
        if room < min(_MIN_NAME_CELLS, limit):
            right, room = "", limit
        left.plain = left.plain.encode(self._encoding, "replace").decode(self._encoding)
        if left.cell_len > room:
            ellipsis = self._glyphs.ellipsis[:room]
            left.truncate(room - len(ellipsis), overflow="crop")
            left.append(ellipsis)
        if right:
            left.append(" " * (room + 1 - left.cell_len)).append(right, "dim")
        return left


def _duration(seconds: float) -> str:
    """`4.2s`, `2m03s`, `1h02m`."""
    if seconds < 100:
        return f"{max(0.0, seconds):.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02}m"
