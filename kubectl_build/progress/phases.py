"""Where a build's time went: the phases of the command and of its solves, as a small table for -v. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from kubectl_build.model.events import BuildEvent, Phase, Sink, StatusUpdate, Vertex, VertexStatus

_CONTEXT = re.compile(r"\[internal\] load (build )?context")
_EXPORT = "exporting to "
_PUSH = "pushing "


class Phases:
    """Collects phases. What a daemon tells of contexts and results counts as the phases context, export and push.

    `began` is when the command began; `clock` is as time.time.
    """

    def __init__(self, *, began: float, clock: Callable[[], float]) -> None:
        self._began = began
        self._clock = clock
        self._found: list[Phase] = []
        self._remotes: dict[tuple[str, str], Phase] = {}
        self._exports: set[tuple[str, str]] = set()

    def add(self, event: BuildEvent) -> Phase | None:
        """Take one event in; return the phase that has ended with it, if the command has told one."""
        if isinstance(event, Phase):
            self._found.append(event)
            return event
        if isinstance(event, StatusUpdate):
            for vertex in event.vertexes:
                self._vertex(event.pool, vertex)
            for status in event.statuses:
                self._status(event.pool, status)
        return None

    def before(self, emit: Sink, *, tell: Callable[[Phase], None] | None = None) -> Sink:
        """A sink that takes in each event before `emit`, and after it hands each phase to `tell`."""

        def both(event: BuildEvent) -> None:
            ended = self.add(event)
            emit(event)
            if ended is not None and tell is not None:
                tell(ended)

        return both

    def table(self) -> str:
        """A line for each phase in the order in which they began: pool, when it began, how long it took. Phases overlap."""
        now = self._clock()
        found = sorted([*self._found, *self._remotes.values()], key=lambda phase: phase.began)
        start = Phase(name="start", began=self._began, ended=found[0].began if found else now)
        phases = [start, *found, Phase(name="all", began=self._began, ended=now)]
        rows = [("PHASE", "POOL", "BEGAN", "TOOK")]
        rows += [(p.name, p.pool or "-", f"{p.began - self._began:.2f}s", f"{p.ended - p.began:.2f}s") for p in phases]
        names, pools, begins, times = (max(map(len, column)) for column in zip(*rows, strict=True))
        return "\n".join(f"{a.ljust(names)}  {b.ljust(pools)}  {c.rjust(begins)}  {d.rjust(times)}" for a, b, c, d in rows)

    def _vertex(self, pool: str, vertex: Vertex) -> None:
        if vertex.name.startswith(_EXPORT):
            self._exports.add((pool, vertex.digest))
        name = "context" if _CONTEXT.match(vertex.name) else "export" if vertex.name.startswith(_EXPORT) else ""
        if name and not vertex.cached:
            self._remote(name, pool, vertex.started, vertex.completed)

    def _status(self, pool: str, status: VertexStatus) -> None:
        if (pool, status.vertex) in self._exports and status.id.startswith(_PUSH):
            self._remote("push", pool, status.started, status.completed)

    def _remote(self, name: str, pool: str, started: float | None, completed: float | None) -> None:
        """A phase by a daemon's clock, which may differ from ours: it has ended when we hear so. What has several parts is one phase."""
        if started is not None and completed is not None:
            now = self._clock()
            began = now - max(0.0, completed - started)
            before = self._remotes.get((name, pool))
            self._remotes[name, pool] = Phase(name=name, began=min(began, before.began) if before else began, ended=now, pool=pool)
