"""The state of a running build, reduced from its events. No I/O and no clock: the time is told with each event.

The rules are those of BuildKit's own displays (moby/buildkit util/progress/progressui/display.go, v0.31.2). New here: several pools,
whose daemons may report the same digest and whose clocks may differ, and the notes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field

from kubectl_build.model.events import Note, Placed, Reached, Sending, StatusUpdate, Vertex, VertexLog, VertexStatus, VertexWarning
from kubectl_build.model.platform import Platform, runs_on
from kubectl_build.progress.escape import LogDecoder, clean, clean_line
from kubectl_build.progress.names import StepName, parse_step, with_prefix
from kubectl_build.values import dataclass

StepKey = tuple[str, str]
"""The pool, and the vertex's digest or its group's id."""

_CANCELED = "context canceled"

_LONGEST_LINE = 1 << 20
"""Characters after which a line that does not end is broken: each piece that is added to it costs its whole length."""


@dataclass(slots=True)
class LogLine:
    """A line of a step's output, made safe to print. `seconds` since the step's start; the last line of a log may still grow."""

    seconds: float
    text: str


@dataclass(slots=True)
class StepLog:
    """The lines of a step that nobody has taken yet. `partial`: the last one has no line end so far."""

    limit: int | None
    lines: list[LogLine] = field(default_factory=list)
    partial: bool = False
    _decoder: LogDecoder = field(default_factory=LogDecoder)

    def add(self, data: bytes, seconds: float) -> None:
        """Takes output that is cut anywhere. With a limit the oldest lines are forgotten."""
        text = self._decoder.decode(data)
        if not text:
            return
        ended = text.endswith("\n")
        pieces = text.split("\n")
        if ended:
            pieces.pop()
        if self.partial and self.lines and len(self.lines[-1].text) < _LONGEST_LINE:
            self.lines[-1].text += pieces.pop(0)
        if self.limit is not None:
            pieces = pieces[-self.limit :]
        self.lines.extend(LogLine(seconds, piece) for piece in pieces)
        if self.limit is not None:
            del self.lines[: -self.limit]
        self.partial = not ended

    def take(self) -> list[LogLine]:
        """Hands over the lines. A partial one is handed over again with what is added to it."""
        lines = self.lines
        self.lines = lines[-1:] if self.partial else []
        return lines

    def end(self) -> None:
        """Ends a partial line, as the end of the step does."""
        self.lines, self.partial = [], False


@dataclass(frozen=True, slots=True)
class Interval:
    """A time in which a step ran, on its daemon's clock. `stop` is None while it runs."""

    start: float
    stop: float | None


def merge_intervals(intervals: Iterable[Interval]) -> list[Interval]:
    """Joins intervals that overlap. One without an end takes in all that start after it."""
    merged: list[Interval] = []
    for interval in sorted(intervals, key=lambda interval: interval.start):
        last = merged[-1] if merged else None
        if last is None or (last.stop is not None and last.stop < interval.start):
            merged.append(interval)
        elif last.stop is not None and (interval.stop is None or interval.stop > last.stop):
            merged[-1] = Interval(last.start, interval.stop)
    return merged


@dataclass(slots=True, eq=False)
class Step:
    """One line of the display: a vertex, or the vertices of a group.

    `activity` counts what happened since a view that shows one step at a time last left it, from `active_since` on. `news` holds the ids
    of the statuses that changed since such a view has shown them. `hidden` groups have only weak members that started. `words` is the name
    taken apart; `placed` is where the platform of a Dockerfile's step is built, if that is known.
    """

    key: StepKey
    name: str
    log: StepLog
    cached: bool = False
    error: str = ""
    hidden: bool = False
    words: StepName = field(default_factory=StepName)
    placed: Placed | None = None
    statuses: dict[str, VertexStatus] = field(default_factory=dict)
    news: set[str] = field(default_factory=set)
    warnings: list[VertexWarning] = field(default_factory=list)
    intervals: list[Interval] = field(default_factory=list)
    activity: int = 0
    active_since: float = 0.0
    _runs: dict[tuple[str, float], Interval] = field(default_factory=dict)
    _members: dict[str, Vertex] = field(default_factory=dict)

    @property
    def pool(self) -> str:
        return self.key[0]

    @property
    def label(self) -> str:
        """The name as it is shown in one line: marked with the pool when several build."""
        return with_prefix(self.pool, self.name)

    @property
    def emulated(self) -> bool:
        """Whether it is a command that runs under QEMU, and is slow for that."""
        placed, words = self.placed, self.words
        if placed is None or placed.mode != "QEMU" or not words.rest.startswith("RUN "):
            return False
        system, _, machine = (words.built or placed.platform).partition("/")
        return not runs_on(Platform(system, machine.partition("/")[0]), placed.pool)

    @property
    def started(self) -> bool:
        return bool(self.intervals)

    @property
    def completed(self) -> bool:
        return bool(self.intervals) and self.intervals[-1].stop is not None

    @property
    def running(self) -> bool:
        return self.started and not self.completed

    @property
    def canceled(self) -> bool:
        """Ended because another step failed or the user interrupted, which is no error of this one."""
        return self.error.endswith(_CANCELED)

    @property
    def failed(self) -> bool:
        return bool(self.error) and not self.canceled

    @property
    def shown_statuses(self) -> list[VertexStatus]:
        """The statuses that have started, in the order in which they came."""
        return [status for status in self.statuses.values() if status.started is not None]

    def touch(self, now: float) -> None:
        """Counts one more thing that happened."""
        if self.activity == 0:
            self.active_since = now
        self.activity += 1

    def report(self, vertex: Vertex) -> bool:
        """Takes over what the daemon says of this step. True when that is news to show."""
        before = (self.name, self.cached, self.error, self.hidden, self.intervals)
        self._members[vertex.digest] = vertex
        if vertex.group is None:
            # a vertex is announced once more without its times by each build that shares it
            if self.started and vertex.started is None:
                return False
            self.name, self.cached, self.error = clean_line(vertex.name), vertex.cached, clean(vertex.error)
        else:
            members = self._members.values()
            self.cached = all(member.cached for member in members)
            self.error = self.error or clean(vertex.error)
            self.hidden = self.hidden and not (self.error or any(m.started is not None and m.group and not m.group.weak for m in members))
        if vertex.started is not None:
            self._runs[vertex.digest, vertex.started] = Interval(vertex.started, vertex.completed)
            self.intervals = merge_intervals(self._runs.values())
        return self.started and before != (self.name, self.cached, self.error, self.hidden, self.intervals)


class State:
    """All that is known of a build. `log_limit` bounds the lines kept for a step; None keeps them until the view takes them.

    `steps` is in the order of announcement, `order` in the order of start and without hidden ones, `changed` holds the steps that a view
    has not looked at since they changed (the view empties it), `waits` says by pool what is waited for just now, `places` by platform
    how it is built, and `pods` by pool where.
    """

    def __init__(self, *, log_limit: int | None = None) -> None:
        self.steps: dict[StepKey, Step] = {}
        self.order: list[Step] = []
        self.changed: dict[StepKey, Step] = {}
        self.waits: dict[str, str] = {}
        self._log_limit = log_limit
        self.places: dict[str, Placed] = {}
        self.pods: dict[str, Reached] = {}
        self._step_of: dict[StepKey, Step] = {}
        self._ordered: set[StepKey] = set()
        self._clock_offsets: dict[str, float] = {}
        self._expected: dict[tuple[str, str], int] = {}

    def note(self, note: Note) -> bool:
        """Takes over a wait. True when its text is not the one that was waited for before."""
        if note.level != "wait":
            return True
        text = clean(note.text)
        news = bool(text) and self.waits.get(note.pool) != text
        self.waits.pop(note.pool, None)
        if text:
            self.waits[note.pool] = text
        return news

    def place(self, placed: Placed) -> None:
        """Takes over where and how a platform is built. Steps that are announced later are marked with it."""
        self.places[placed.platform] = placed

    def reach(self, reached: Reached) -> None:
        """Takes over which daemon builds for a pool."""
        self.pods[reached.pool] = reached

    def send(self, sending: Sending) -> None:
        """Takes over how much of a directory will be sent."""
        self._expected[sending.pool, f"transferring {sending.name}:"] = sending.expected

    def total(self, step: Step, status: VertexStatus) -> int:
        """All that a part of a step will have had, 0 when that is not known. Of a directory that is sent only the client knows it."""
        expected = self._expected.get((step.pool, status.id), 0)
        return status.total or (max(expected, status.current) if expected else 0)

    def update(self, update: StatusUpdate, now: float) -> None:
        """Takes over one message of a solve's status stream. Parts that name an unknown vertex are left out, as BuildKit does."""
        self.waits.pop("", None)
        self.waits.pop(update.pool, None)
        for vertex in update.vertexes:
            self._vertex(update.pool, vertex, now)
        for status in update.statuses:
            step = self._step_of.get((update.pool, status.vertex))
            if step:
                step.statuses[status.id] = status
                step.news.add(status.id)
                self._changed(step, now)
        for warning in update.warnings:
            step = self._step_of.get((update.pool, warning.vertex))
            if step:
                step.warnings.append(warning)
                step.touch(now)
        for log in update.logs:
            step = self._step_of.get((update.pool, log.vertex))
            if step:
                step.log.add(log.data, _log_seconds(step, log))
                self._changed(step, now)

    def seconds(self, step: Step, now: float) -> float:
        """How long a step has run, without pauses; `now` is ours, its times are its daemon's."""
        there = now - self._clock_offsets.get(step.pool, 0.0)
        return sum(max(0.0, (there if run.stop is None else run.stop) - run.start) for run in step.intervals)

    def counts(self) -> tuple[int, int]:
        """(completed, all) of the steps that are not hidden."""
        visible = [step for step in self.steps.values() if not step.hidden]
        return sum(step.completed for step in visible), len(visible)

    def _vertex(self, pool: str, vertex: Vertex, now: float) -> None:
        step = self._step_for(pool, vertex)
        if vertex.started is not None:
            self._clock_offsets.setdefault(pool, now - vertex.started)
        news = step.report(vertex)
        if step.started and not step.hidden and step.key not in self._ordered:
            self._ordered.add(step.key)
            self.order.append(step)
        if news:
            self._changed(step, now)

    def _step_for(self, pool: str, vertex: Vertex) -> Step:
        group = vertex.group
        key = (pool, group.id if group else vertex.digest)
        step = self.steps.get(key)
        if step is None:
            name = clean_line(group.name if group else vertex.name)
            words = parse_step(name)
            placed = self._place_of(pool, words)
            step = Step(key=key, name=name, log=StepLog(self._log_limit), hidden=group is not None, words=words, placed=placed)
            self.steps[key] = step
        self._step_of[pool, vertex.digest] = step
        return step

    def _place_of(self, pool: str, words: StepName) -> Placed | None:
        """Where the platform of a Dockerfile's step is built; None when that cannot be told."""
        if not words.number:
            return None
        here = [placed for placed in self.places.values() if not pool or placed.pool == pool]
        if words.platform:
            here = [placed for placed in here if placed.platform == words.platform]
        return here[0] if len(here) == 1 else None

    def _changed(self, step: Step, now: float) -> None:
        step.touch(now)
        self.changed[step.key] = step


def _log_seconds(step: Step, log: VertexLog) -> float:
    if log.timestamp is None or not step.intervals:
        return 0.0
    return log.timestamp - step.intervals[-1].start
