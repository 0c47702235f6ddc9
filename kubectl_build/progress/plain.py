"""Progress as lines of text, in the grammar of `docker buildx build --progress=plain`, which other programs read.

One step is shown at a time. `#N name` begins it and is said again when it comes back; `#N ...` leaves it for another. What a step says
follows its number; `DONE 1.2s`, `CACHED`, `CANCELED` or `ERROR: ...` ends it. Steps are separated by an empty line. Our notes are step 0.
The choice of the step follows moby/buildkit util/progress/progressui/printer.go (v0.31.2).
"""

from __future__ import annotations

from collections.abc import Sequence

from kubectl_build.model.events import BuildEvent, Note, Placed, StatusUpdate, VertexStatus
from kubectl_build.progress.advice import emulation_advice
from kubectl_build.progress.escape import clean, clean_line
from kubectl_build.progress.state import State, Step, StepKey
from kubectl_build.progress.units import format_amount, format_log_time
from kubectl_build.progress.warnings import Warnings
from kubectl_build.values import dataclass

_MINIMUM_TURN = 5.0
"""Seconds for which a step that shares the output evenly with no other keeps it."""
_LONGEST_SILENCE = 10.0
"""Seconds after which a step with something to say takes the output."""
_STATUS_SECONDS = 5.0
_STATUS_SHARE = 0.05
"""A status is printed again after so many seconds, or when so much of its total has been added."""


@dataclass(frozen=True, slots=True)
class _Contender:
    """An open step that wants the output: how long it has waited, and how many events a second it has."""

    step: Step
    waited: float
    speed: float
    overdue: bool


class PlainView:
    """Turns events into text. Pure: times are told."""

    redraws = False

    def __init__(self, *, details: bool = False) -> None:
        self._warnings = Warnings(details=details)
        self._state = State()
        self._printer = _Printer(self._state)
        self._said_waits: dict[str, set[str]] = {}

    def apply(self, event: BuildEvent, now: float) -> None:
        """Takes over an event. What it says comes with the next `refresh`; a wait is said once until its pool moves on."""
        if isinstance(event, Note):
            if self._state.note(event) and not (event.level == "wait" and self._said(event)):
                self._show_next(now)
                self._printer.note(event)
            return
        if isinstance(event, Placed):
            self._state.place(event)
            return
        if not isinstance(event, StatusUpdate):
            return
        self._said_waits.pop("", None)
        self._said_waits.pop(event.pool, None)
        self._warnings.add(event)
        self._state.update(event, now)

    def refresh(self, now: float) -> str:
        """The text to print since the last call. It may end inside a line."""
        self._show_next(now)
        return self._printer.take()

    def finish(self, now: float) -> str:
        """The last text, with the output of all steps that were not shown so far. It ends with a line end."""
        self._show_next(now)
        for step in list(self._state.changed.values()):
            if step.log.lines and not step.hidden:
                self._printer.show(step, now)
        self._printer.finish(now)
        if advice := emulation_advice(self._state, now):
            self._printer.note(Note(text=advice))
        return self._printer.take() + "".join(f"{line}\n" for line in self._warnings.lines())

    def _said(self, note: Note) -> bool:
        said = self._said_waits.setdefault(note.pool, set())
        before = note.text in said
        said.add(note.text)
        return before

    def _show_next(self, now: float) -> None:
        """Prints every step that has ended, then the open one that is shown, or another whose turn it is."""
        changed = [step for step in self._state.changed.values() if not step.hidden]
        ended = sorted((step for step in changed if step.completed), key=lambda step: step.intervals[-1].stop or 0.0)
        opened = [step for step in changed if not step.completed]
        current = self._printer.current
        for step in sorted(ended, key=lambda step: step is not current):
            self._printer.show(step, now)
        if not opened:
            if current is None or not current.running:
                running = next((step for step in self._state.order if step.running), None)
                if running is not None and running is not self._printer.current:
                    self._printer.show(running, now)
            return
        if current in opened:
            self._printer.show(current, now)
        following = _whose_turn(opened, current, now, current_ended=current in ended)
        if following is not None:
            self._printer.show(following, now)


def _whose_turn(opened: Sequence[Step], current: Step | None, now: float, *, current_ended: bool) -> Step | None:
    """The open step that takes the output; None when the one that is shown keeps it."""
    contenders = [_contender(step, current, now) for step in dict.fromkeys([*opened, *([current] if current else [])]) if step.activity]
    if not contenders:
        return None
    best = max(contenders, key=lambda contender: (contender.overdue, contender.speed))
    if current is None or current_ended:
        return best.step
    overdue = next((contender for contender in contenders if contender.overdue), None)
    if overdue is not None:
        return overdue.step
    total = sum(contender.speed for contender in contenders)
    shown = next((contender for contender in contenders if contender.step is current), None)
    if shown is None or total == 0 or shown.speed == total:
        return None
    turn = _MINIMUM_TURN / (1 - shown.speed / total)
    return best.step if turn < shown.waited else None


def _contender(step: Step, current: Step | None, now: float) -> _Contender:
    waited = max(now - step.active_since, 1e-6)
    return _Contender(step, waited, step.activity / waited, waited > _LONGEST_SILENCE and step is not current)


class _Printer:
    """Writes one step at a time into a buffer. `current` is the step whose lines may go on."""

    def __init__(self, state: State) -> None:
        self.current: Step | None = None
        self._state = state
        self._out: list[str] = []
        self._column = 0  # how much of the current step's partial line is printed
        self._numbers: dict[StepKey, int] = {}
        self._warned: dict[StepKey, int] = {}
        self._told: dict[tuple[StepKey, str], VertexStatus] = {}
        self._unended: set[StepKey] = set()
        self._in_notes = False
        self._began = False

    def take(self) -> str:
        """Hands over what was printed since the last call."""
        text = "".join(self._out)
        self._out.clear()
        return text

    def note(self, note: Note) -> None:
        """Prints a note as lines of step 0."""
        self._leave()
        if not self._in_notes:
            self._separate()
        self._in_notes = True
        mark = "WARN: " if note.level == "warning" else ""
        self._out.extend(f"#0 {mark}{line}\n" for line in clean(note.text).splitlines())

    def show(self, step: Step, now: float) -> None:
        """Prints what is new of a step, with its end if it has ended."""
        number = self._numbers.setdefault(step.key, len(self._numbers) + 1)
        if step is not self.current:
            self._leave()
            self._separate()
            self._in_notes = False
            self._out.append(f"#{number} {step.label}\n")
        if step.news:
            self._cut_line()
        open_status = self._statuses(step, number)
        for warning in step.warnings[self._warned.get(step.key, 0) :]:
            self._cut_line()
            self._out.append(f"#{number} WARN: {clean_line(warning.short)}\n")
        self._warned[step.key] = len(step.warnings)
        self._log(step, number)
        self.current = step
        self._state.changed.pop(step.key, None)
        self._unended.add(step.key)
        if step.completed and not open_status:
            self._end(step, now)

    def finish(self, now: float) -> None:
        """Tells the end of steps that ended with a part still open, and ends the line."""
        for step in [step for step in self._state.order if step.key in self._unended]:
            if step.completed:
                self.show(step, now)
        self._end_line()

    def _end_line(self) -> None:
        if self._column:
            self._out.append("\n")
            self._column = 0

    def _cut_line(self) -> None:
        """Ends a line that is printed in part, for another line of the same step. What is added to it becomes a line of its own."""
        if self._column and self.current is not None:
            self._end_line()
            self.current.log.end()

    def _end(self, step: Step, now: float) -> None:
        self._end_line()
        step.log.end()
        self._out.append(f"#{self._numbers[step.key]} {self._ending(step, now)}\n")
        self.current, step.activity = None, 0
        self._unended.discard(step.key)

    def _leave(self) -> None:
        if self.current is not None:
            self._end_line()
            self._out.append(f"#{self._numbers[self.current.key]} ...\n")
            self.current.activity = 0
            self.current = None

    def _separate(self) -> None:
        if self._began:
            self._out.append("\n")
        self._began = True

    def _statuses(self, step: Step, number: int) -> bool:
        """Prints the statuses that moved on enough. True when one of these is still open."""
        still_open = False
        for status in step.shown_statuses:
            if status.id in step.news and self._tells(step, status):
                self._told[step.key, status.id] = status
                still_open = still_open or status.completed is None
                self._out.append(f"#{number} {_status_line(status)}\n")
        step.news.clear()
        return still_open

    def _tells(self, step: Step, status: VertexStatus) -> bool:
        before = self._told.get((step.key, status.id))
        if before is None or status.completed is not None:
            return True
        share = (status.current - before.current) / status.total if status.total else 0.0
        passed = (status.timestamp or 0.0) - (before.timestamp or 0.0)
        return share >= _STATUS_SHARE or passed >= _STATUS_SECONDS

    def _log(self, step: Step, number: int) -> None:
        partial, text = step.log.partial, ""
        for line in step.log.take():
            text = f"{format_log_time(line.seconds)} {line.text}"
            self._out.append(text[self._column :] if self._column else f"#{number} {text}")
            self._out.append("\n")
            self._column = 0
        if partial:
            self._out.pop()
            self._column = len(text)

    def _ending(self, step: Step, now: float) -> str:
        if step.error:
            return "CANCELED" if step.canceled else f"ERROR: {step.error}"
        return "CACHED" if step.cached else f"DONE {self._state.seconds(step, now):.1f}s"


def _status_line(status: VertexStatus) -> str:
    amount = format_amount(status.current, status.total)
    parts = [clean_line(status.id), *([amount] if amount else [])]
    end = status.timestamp if status.completed is None else status.completed
    if status.started is not None and end is not None and end - status.started > 0.01:
        parts.append(f"{end - status.started:.1f}s")
    if status.completed is not None:
        parts.append("done")
    return " ".join(parts)
