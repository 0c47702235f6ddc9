"""Which steps decided how long a build took (pure).

From the end backwards: before a step stands the one of its inputs that ended last. Steps without inputs, such as loading a base image or
exporting, follow whatever ended last before they began: in their own pool, or where nothing went on there, anywhere. A step that ran
more than once (a base image, looked at first and unpacked when a command needs it) stands for each of these times by itself.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from kubectl_build.progress.state import StepKey
from kubectl_build.report.facts import StepFacts
from kubectl_build.values import dataclass

_SLACK = 0.05
"""Seconds by which a daemon's times of two steps may overlap."""
_PAUSE = 0.5
"""Seconds for which a pool did nothing, so that it waited for something else."""


@dataclass(frozen=True, slots=True)
class _Run:
    """One of the times in which a step ran, to its end."""

    step: StepFacts
    start: float
    stop: float


class _Ended:
    """Runs of steps, by when they ended."""

    def __init__(self, runs: Iterable[_Run]) -> None:
        self._runs = sorted(runs, key=_stop)
        self._stops = [run.stop for run in self._runs]

    def before(self, run: _Run) -> _Run | None:
        """The one that ended last before `run` began."""
        for position in range(bisect_right(self._stops, run.start + _SLACK) - 1, -1, -1):
            if self._runs[position].start < run.start:
                return self._runs[position]
        return None


def critical_path(steps: Sequence[StepFacts]) -> tuple[StepKey, ...]:
    """The keys of the steps, in the order in which they ran."""
    by_key = {step.key: [_Run(step, run.start, run.stop) for run in step.runs if run.stop is not None] for step in steps}
    ended = [run for runs in by_key.values() for run in runs]
    if not ended:
        return ()
    everywhere = _Ended(ended)
    pools = {pool: _Ended(run for run in ended if run.step.pool == pool) for pool in {run.step.pool for run in ended}}

    def before(run: _Run) -> _Run | None:
        inputs = [found for key in run.step.inputs for found in by_key.get(key, ())]
        inputs = [found for found in inputs if found.stop <= run.start + _SLACK and found.start < run.start]
        if inputs:
            return max(inputs, key=_stop)
        own = pools[run.step.pool].before(run)
        return own if own is not None and run.start - own.stop < _PAUSE else everywhere.before(run)

    path = [max(ended, key=_stop)]
    while (run := before(path[-1])) is not None:  # each began before the one that it stands before, so this ends
        path.append(run)
    return tuple(dict.fromkeys(run.step.key for run in reversed(path)))


def _stop(run: _Run) -> float:
    return run.stop
