"""Which steps decided how long a build took (pure).

From the end backwards: before a step stands the one of its inputs that ended last. Steps without inputs, such as loading a base image or
exporting, follow whatever ended last before they began: in their own pool, or where nothing went on there, anywhere.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from kubectl_build.progress.state import StepKey
from kubectl_build.report.facts import StepFacts

_SLACK = 0.05
"""Seconds by which a daemon's times of two steps may overlap."""
_PAUSE = 0.5
"""Seconds for which a pool did nothing, so that it waited for something else."""


class _Ended:
    """Steps that have ended, by when."""

    def __init__(self, steps: Sequence[StepFacts]) -> None:
        self._steps = sorted(steps, key=_stop)
        self._stops = [_stop(step) for step in self._steps]

    def before(self, step: StepFacts) -> StepFacts | None:
        """The one that ended last before `step` began."""
        for position in range(bisect_right(self._stops, step.start + _SLACK) - 1, -1, -1):
            if self._steps[position].start < step.start:
                return self._steps[position]
        return None


def critical_path(steps: Sequence[StepFacts]) -> tuple[StepKey, ...]:
    """The keys of the steps, in the order in which they ran."""
    ended = [step for step in steps if step.stop is not None]
    if not ended:
        return ()
    by_key = {step.key: step for step in ended}
    everywhere = _Ended(ended)
    pools = {pool: _Ended([step for step in ended if step.pool == pool]) for pool in {step.pool for step in ended}}

    def before(step: StepFacts) -> StepFacts | None:
        limit = step.start + _SLACK
        inputs = [by_key[key] for key in step.inputs if key in by_key]
        inputs = [found for found in inputs if _stop(found) <= limit and found.start < step.start]
        if inputs:
            return max(inputs, key=_stop)
        own = pools[step.pool].before(step)
        return own if own is not None and step.start - _stop(own) < _PAUSE else everywhere.before(step)

    path = [max(ended, key=_stop)]
    while (step := before(path[-1])) is not None:  # each began before the one that it stands before, so this ends
        path.append(step)
    return tuple(step.key for step in reversed(path))


def _stop(step: StepFacts) -> float:
    return step.start if step.stop is None else step.stop
