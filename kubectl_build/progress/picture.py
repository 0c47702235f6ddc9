"""What the live view shows: the state laid out as lines for a terminal of some size. Pure; needs rich for styled text.

While the build runs the picture always fits the terminal: a headline with the platforms and where each is built, the steps that have ended
as far as there is room, the running steps with their transfers and the end of their output, and what is waited for. The last picture, which
stays, has what took longest and what went wrong; the rest is counted. Warnings and the words of a failure are told below it, by others.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from kubectl_build.model.events import VertexStatus
from kubectl_build.progress.advice import emulation_advice
from kubectl_build.progress.places import place_rows
from kubectl_build.progress.rows import Columns, Pen, count_steps, format_duration, short_text
from kubectl_build.progress.state import State, Step
from kubectl_build.progress.units import format_amount, format_bytes

_LOG_LINES = 6
_STATUS_LINES = 4
_WAIT_LINES = 3
_ADVICE_LINES = 3
_BAR_CELLS = 20
_BAR_MIN_WIDTH = 70
"""Narrower terminals have no bars."""
_AIRY_HEIGHT = 20
"""Lower terminals have no empty line below the platforms."""
_ROWS_PER_PLACE = 6
"""Rows of the terminal for which one line is given to platforms."""
_RATE_SECONDS = 0.5
"""A rate over less time says nothing."""
_TRANSFER, _WORTH_BYTES = "transferring ", 1_000_000
_SLOWEST = 5
_SLOW_SECONDS = 1.0
"""The last picture names so many steps that have taken so long."""


class Picture:
    """Lays out `state` for a stream of `encoding`. `began` is when the command began, for the headline; `verbose` folds no step."""

    def __init__(self, state: State, *, encoding: str, began: float, verbose: bool = False) -> None:
        self._state = state
        self._pen = Pen(encoding)
        self._columns = Columns()
        self._began = began
        self._verbose = verbose

    def live(self, now: float, width: int, height: int) -> list[Text]:
        """The picture of a running build: at most `height - 1` lines of at most `width - 1` cells. Empty before anything has begun."""
        state = self._state
        if not (state.order or state.waits or state.places):
            return []
        self._columns.take(state.order)
        room = max(1, height - 1)
        head = self._head("Building", now, width, max(1, height // _ROWS_PER_PLACE))[: max(1, room - 2)]
        if height >= _AIRY_HEIGHT and len(head) > 1:
            head.append(Text())
        foot = self._foot(now, width, min(_WAIT_LINES, max(1, height // 10)))[: max(0, room - len(head))]
        room -= len(head) + len(foot)
        running = [step for step in state.order if step.running]
        ended = [step for step in state.order if step.completed]
        now_running = self._running(running, now, width, room, keep=min(len(ended), (room - len(running)) // 3))
        return [*head, *self._ended(ended, now, width, room - len(now_running)), *now_running, *foot]

    def final(self, now: float, width: int) -> list[Text]:
        """The last picture. Empty when no step has begun."""
        state = self._state
        if not state.order:
            return []
        self._columns.take(state.order)
        shown = state.order if self._verbose else self._worth_telling(now)
        lines = self._head(self._outcome(), now, width, len(state.places), final=True)
        lines += self._folded([step for step in state.order if step not in shown], width)
        lines += [self._step(step, now, width, final=True) for step in shown]
        if advice := emulation_advice(state, now):
            lines += self._pen.wrapped(self._pen.glyphs.warning, advice, "yellow", width, _ADVICE_LINES + 1)
        return lines

    def _worth_telling(self, now: float) -> list[Step]:
        """The steps that took longest, and those that failed or, without a failure, were ended early."""
        steps, failed = self._state.order, any(step.failed for step in self._state.order)
        took = {id(step): self._state.seconds(step, now) for step in steps if step.completed and not step.cached and not step.error}
        slow = sorted((step for step in steps if took.get(id(step), 0.0) >= _SLOW_SECONDS), key=lambda step: -took[id(step)])
        told = {id(step) for step in ([] if failed else slow[:_SLOWEST])}
        told |= {id(step) for step in steps if step.failed or (not failed and (step.canceled or not step.completed))}
        return [step for step in steps if id(step) in told]

    def _folded(self, steps: Sequence[Step], width: int) -> list[Text]:
        """What the last picture only counts."""
        glyphs = self._pen.glyphs
        done = [step for step in steps if step.completed and not step.error]
        stopped = len(steps) - len(done)
        lines = [self._count(done, width)] if done else []
        if stopped:
            lines.append(self._pen.row(Text(f" {glyphs.canceled} {count_steps(stopped)} canceled", "dim"), "", width))
        return lines

    def _outcome(self) -> str:
        if any(step.failed for step in self._state.order):
            return "Failed"
        if any(step.canceled or not step.completed for step in self._state.order):
            return "Stopped"
        return "Finished"

    def _head(self, word: str, now: float, width: int, rows: int, *, final: bool = False) -> list[Text]:
        completed, total = self._state.counts()
        cached = sum(step.cached for step in self._state.order)
        text = Text(word, "bold red" if word == "Failed" else "bold")
        text.append(f"  {format_duration(now - self._began)}", "not bold")
        if total:
            text.append(f"  {count_steps(total) if final and completed == total else f'{completed}/{total} steps'}", "not bold")
        if cached:
            text.append(f"  {cached} cached", "dim not bold")
        return [self._pen.row(text, "", width), *place_rows(self._state, self._pen, width, rows, bars=not final)]

    def _foot(self, now: float, width: int, lines: int) -> list[Text]:
        glyphs = self._pen.glyphs
        foot = [row for text in self._state.waits.values() for row in self._pen.wrapped(glyphs.waiting, text, "yellow", width, lines)]
        advice = emulation_advice(self._state, now)
        return foot + (self._pen.wrapped(glyphs.warning, advice, "yellow", width, lines) if advice else [])

    def _ended(self, ended: Sequence[Step], now: float, width: int, room: int) -> list[Text]:
        """The newest steps that have ended; cached and older ones, and those that are of no interest, are only counted."""
        if room <= 0:
            return []
        own = [step for step in ended if step.error or (not step.cached and self._tells(step, now))]
        fits = len(own) == len(ended) and len(own) <= room
        shown = own if fits else own[len(own) - min(len(own), room - 1) :]
        lines = [self._step(step, now, width) for step in shown]
        if len(shown) < len(ended):
            chosen = set(map(id, shown))
            lines.insert(0, self._count([step for step in ended if id(step) not in chosen], width))
        return lines

    def _tells(self, step: Step, now: float) -> bool:
        """Whether a step that has ended is worth a line: it stands in the Dockerfile, or took its time."""
        return bool(step.words.number) or not step.words.rest or self._state.seconds(step, now) >= _SLOW_SECONDS

    def _count(self, steps: Sequence[Step], width: int) -> Text:
        cached = sum(step.cached for step in steps)
        words = f"{count_steps(len(steps))} done" + (f", {cached} cached" if cached else "")
        return self._pen.row(Text.assemble((f" {self._pen.glyphs.done} ", "green"), (words, "dim")), "", width)

    def _running(self, running: Sequence[Step], now: float, width: int, room: int, *, keep: int) -> list[Text]:
        """The running steps, with details where there is room; `keep` lines are left for others."""
        if not running or room <= 0:
            return []
        if len(running) > room:
            more = len(running) - room + 1
            lines = [self._step(step, now, width) for step in running[more:]]
            return [*lines, self._pen.row(Text(f" {self._pen.glyphs.ellipsis} {more} more running", "dim"), "", width)]
        spare = max(0, room - len(running) - max(0, keep))
        lines = []
        for position, step in enumerate(running):
            details = self._details(step, width, spare // (len(running) - position))
            spare -= len(details)
            lines += [self._step(step, now, width), *details]
        return lines

    def _details(self, step: Step, width: int, room: int) -> list[Text]:
        statuses = [status for status in step.shown_statuses if status.completed is None][: min(room, _STATUS_LINES)]
        lines = [self._status(step, status, width) for status in statuses]
        count = min(room - len(lines), _LOG_LINES)
        if count > 0:
            shown = [line for line in step.log.lines if line.text.strip()][-count:]
            lines += [self._pen.log(self._columns.indent(width), line.text, width) for line in shown]
        return lines

    def _step(self, step: Step, now: float, width: int, *, final: bool = False) -> Text:
        glyphs = self._pen.glyphs
        right = format_duration(self._state.seconds(step, now))
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
            right = "cached" if step.cached else f"{_sent(step)}{right}"
        words = (short_text(step.words.rest or step.name), "dim" if step.cached else "red" if step.failed else "")
        left = Text.assemble((f" {sign} ", style), *self._columns.before(step, width, glyphs.ellipsis), words)
        mark = ("QEMU  ", "magenta") if step.emulated and not step.cached else ""
        return self._pen.row(left, Text.assemble(mark, (right, "dim")), width)

    def _status(self, step: Step, status: VertexStatus, width: int) -> Text:
        """A part of a running step: its name, how much of it is done, and how fast."""
        total = self._state.total(step, status)
        left = Text(f"   {self._columns.indent(width)}{short_text(status.id)}", "dim")
        right = Text(format_amount(status.current, total), "dim")
        seconds = (status.timestamp or 0.0) - (status.started or 0.0)
        if status.current and seconds > _RATE_SECONDS:
            right.append(f"  {format_bytes(int(status.current / seconds))}/s")
        if total and width >= _BAR_MIN_WIDTH:
            bar = self._pen.bar(status.current, total, _BAR_CELLS)
            right = Text.assemble(bar, "  ", right)
        return self._pen.row(left, right, width)


def _sent(step: Step) -> str:
    """How much a context had, for a step that was sending it; small ones are of no interest."""
    sizes = [status.current for status in step.statuses.values() if status.id.startswith(_TRANSFER) and status.current >= _WORTH_BYTES]
    return f"{format_bytes(sum(sizes))}  " if sizes else ""
