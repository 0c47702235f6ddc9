"""From what happens in a build to the facts of its report. No I/O; the time is told with each event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kubectl_build.errors import UsageError
from kubectl_build.model.events import BuildEvent, Note, Phase, Placed, StatusUpdate
from kubectl_build.model.observed import BuildSources, ImageLayer, PoolBegun, PoolMade, SourceFile, StepOrigin
from kubectl_build.model.platform import parse_platform, runs_on
from kubectl_build.progress.escape import clean
from kubectl_build.progress.state import Interval, State, Step, StepKey
from kubectl_build.report.critical import critical_path
from kubectl_build.report.facts import BuildFacts, PlatformFacts, PoolFacts, StepFacts, TransferFacts
from kubectl_build.report.logs import Outputs

_TRANSFER = "transferring "
_IGNORE = ".dockerignore"
_NOTICED = 0.1
"""Seconds from which on a part of the command's own work is shown."""
_OWN_WORK = {
    "credentials": "load registry logins",
    "builder": "find the builder",
    "pods": "start the pods of all pools",
    "connect": "start or find a pod, and connect:",
    "index": "write the index through",
}
"""Phases that are no daemon's work, as they are called in a report."""
CLIENT = "this command"
"""The pool that stands for what the command did itself. No architecture has such a name."""
_NO_ORIGIN = StepOrigin()


class Collector:
    """Takes all that a build tells, and says in the end what it was.

    `live`: events come as they happen, so that the clocks of daemons can be set by ours.
    """

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._state = State(log_limit=1)
        self._outputs = Outputs()
        self._keys: dict[StepKey, StepKey] = {}
        self._inputs: dict[StepKey, dict[StepKey, None]] = {}
        self._members: dict[StepKey, dict[StepKey, None]] = {}
        self._offsets: dict[str, float] = {}
        self._pools: dict[str, PoolBegun] = {}
        self._placed: dict[str, Placed] = {}
        self._images: dict[str, tuple[ImageLayer, ...]] = {}
        self._notes: list[str] = []
        self._phases: list[Phase] = []

    def event(self, event: BuildEvent, now: float) -> None:
        """Takes over an event; cheap."""
        if isinstance(event, StatusUpdate):
            self._update(event, now)
        elif isinstance(event, Placed):
            self._state.place(event)
            self._placed[event.platform] = event
        elif isinstance(event, Phase):
            self._phases.append(event)
        elif isinstance(event, Note) and event.level != "wait" and event.text:
            self._notes.append(clean(event.text))

    def observe(self, told: PoolBegun | PoolMade) -> None:
        """Takes over what displays are not told: an Observer."""
        if isinstance(told, PoolBegun):
            self._pools[told.label] = told
        else:
            self._images.update(told.images)

    def facts(self, *, began: float | None = None, ended: float | None = None) -> BuildFacts:
        """What the build was. Without `began` and `ended` its first and last step say when that was."""
        files, sources = self._sources()
        steps = tuple(sorted([*self._own_work(), *self._steps(sources)], key=lambda step: (step.start, step.key)))
        stops = [step.stop for step in steps if step.stop is not None]
        first = began if began is not None else min((step.start for step in steps), default=0.0)
        last = ended if ended is not None else max(stops, default=first)
        return BuildFacts(
            steps=steps,
            pools=tuple(self._pool_facts(steps)),
            platforms=tuple(self._platforms()),
            sources=files,
            transfers=tuple(self._transfers()),
            notes=tuple(self._notes),
            critical=critical_path(steps),
            began=first,
            ended=max(last, first),
        )

    def _update(self, update: StatusUpdate, now: float) -> None:
        pool = update.pool
        for vertex in update.vertexes:
            own = (pool, vertex.digest)
            key = (pool, vertex.group.id) if vertex.group else own
            self._keys[own] = key
            self._members.setdefault(key, {})[own] = None
            self._inputs.setdefault(own, {}).update({(pool, digest): None for digest in vertex.inputs})
        self._state.update(update, now)
        for log in update.logs:
            if step := self._keys.get((pool, log.vertex)):
                self._outputs.add(step, log.data)
        if self._live:
            times = [t for vertex in update.vertexes for t in (vertex.started, vertex.completed) if t is not None]
            if times:
                # The shortest way that a message took is the best guess of how far the clocks are apart.
                self._offsets[pool] = min(now - max(times), self._offsets.get(pool, float("inf")))

    def _sources(self) -> tuple[tuple[SourceFile, ...], Mapping[str, BuildSources]]:
        """The files of all pools, each once, and each pool's steps with these files' numbers."""
        files: dict[SourceFile, int] = {}
        found = {}
        for label, begun in self._pools.items():
            numbers = [files.setdefault(file, len(files)) for file in begun.sources.files]
            steps = {
                digest: StepOrigin(
                    spans=tuple((numbers[file], first, last) for file, first, last in origin.spans),
                    platforms=origin.platforms,
                    runs_on=origin.runs_on,
                )
                for digest, origin in begun.sources.steps.items()
            }
            found[label] = BuildSources(files=begun.sources.files, steps=steps)
        return tuple(files), found

    def _own_work(self) -> Iterator[StepFacts]:
        """What the command did itself, as steps of a pool of its own: a builder that has to start may take longer than the build."""
        for number, phase in enumerate(self._phases):
            if phase.name in _OWN_WORK and phase.ended - phase.began >= _NOTICED:
                yield StepFacts(
                    key=(CLIENT, str(number)),
                    name=f"{_OWN_WORK[phase.name]} {phase.pool}".rstrip(),
                    pool=CLIENT,
                    runs=(Interval(phase.began, phase.ended),),
                )

    def _steps(self, sources: Mapping[str, BuildSources]) -> Iterator[StepFacts]:
        for step in self._state.steps.values():
            if step.started and not step.hidden:
                yield self._step(step, sources)

    def _step(self, step: Step, sources: Mapping[str, BuildSources]) -> StepFacts:
        offset = self._offsets.get(step.pool, 0.0)
        members = self._members.get(step.key, {})
        origins = [sources[step.pool].steps.get(digest, _NO_ORIGIN) for _, digest in members] if step.pool in sources else []
        command = next((origin.runs_on for origin in origins if origin.runs_on), "")
        inputs = {self._keys.get(key, key): None for member in members for key in self._inputs.get(member, ())}
        inputs.pop(step.key, None)
        log, dropped = self._outputs.of(step.key)
        return StepFacts(
            key=step.key,
            name=step.name,
            pool=step.pool,
            runs=tuple(Interval(run.start + offset, None if run.stop is None else run.stop + offset) for run in step.intervals),
            inputs=tuple(inputs),
            cached=step.cached,
            error=step.error,
            canceled=step.canceled,
            emulated=bool(command) and not step.cached and self._is_foreign(step.pool, command),
            platforms=tuple(dict.fromkeys(platform for origin in origins for platform in origin.platforms)),
            runs_on=command,
            spans=tuple(dict.fromkeys(span for origin in origins for span in origin.spans)),
            log=log,
            dropped=dropped,
        )

    def _is_foreign(self, label: str, command: str) -> bool:
        """Whether a pool's nodes do not run a command of this platform by themselves."""
        try:
            platform = parse_platform(command)
        except UsageError:
            return False
        modes = {placed.mode for placed in self._placed.values() if command in placed.platform or placed.platform == command}
        return not runs_on(platform, self._pools[label].pool, arm32=bool(modes) and modes == {"native"})

    def _pool_facts(self, steps: tuple[StepFacts, ...]) -> Iterator[PoolFacts]:
        labels = dict.fromkeys([*(step.pool for step in steps), *self._pools])
        for label in sorted(labels, key=lambda label: label != CLIENT):
            begun = self._pools.get(label)
            if begun is None:
                yield PoolFacts(label=label, pool=label or "all pools", pod="", node="", version="")
            else:
                yield PoolFacts(label=label, pool=begun.pool, pod=begun.pod, node=begun.node, version=begun.version)

    def _platforms(self) -> Iterator[PlatformFacts]:
        built = {name: begun.pool for begun in self._pools.values() for name in begun.platforms}
        for name in dict.fromkeys([*self._placed, *built, *self._images]):
            placed = self._placed.get(name)
            yield PlatformFacts(
                platform=name,
                mode=placed.mode if placed else "",
                pool=placed.pool if placed else built.get(name, ""),
                why=placed.why if placed else "",
                layers=self._images.get(name),
            )

    def _transfers(self) -> Iterator[TransferFacts]:
        for step in self._state.steps.values():
            for status in step.statuses.values():
                if status.id.startswith(_TRANSFER) and status.current:
                    seconds = (status.completed or 0.0) - (status.started or 0.0)
                    ignore = step.name.endswith(_IGNORE)  # the daemon calls this a context too
                    what = _IGNORE if ignore else status.id.removeprefix(_TRANSFER).rstrip(": ")
                    yield TransferFacts(what=what, pool=step.pool, size=status.current, seconds=max(seconds, 0.0))
            pulled = [status for status in step.statuses.values() if status.id.startswith("sha256:") and status.total]
            if pulled:
                began, ended = min(s.started or 0.0 for s in pulled), max(s.completed or 0.0 for s in pulled)
                size = sum(status.current for status in pulled)
                yield TransferFacts(what=step.name, pool=step.pool, size=size, seconds=max(ended - began, 0.0))
