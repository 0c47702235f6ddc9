"""Which steps decided how long a build took (pure).

From the end backwards: before a step stands the one of its inputs that ended last. Steps without inputs, such as loading a base image or
exporting, follow whatever ended last before they began.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence

from kubectl_build.progress.state import StepKey
from kubectl_build.report.facts import StepFacts

_SLACK = 0.05
"""Seconds by which a daemon's times of two steps may overlap."""


def critical_path(steps: Sequence[StepFacts]) -> tuple[StepKey, ...]:
    """The keys of the steps, in the order in which they ran. Pools are independent: it is the path of the one that ended last."""
    ended = [step for step in steps if step.stop is not None]
    if not ended:
        return ()
    last = max(ended, key=_stop)
    own = sorted((step for step in ended if step.pool == last.pool), key=_stop)
    stops = [_stop(step) for step in own]
    by_key = {step.key: step for step in own}
    path, seen, step = [last], {last.key}, last
    while (before := _before(step, by_key, own, stops)) is not None and before.key not in seen:
        path.append(before)
        seen.add(before.key)
        step = before
    return tuple(step.key for step in reversed(path))


def _before(step: StepFacts, by_key: Mapping[StepKey, StepFacts], own: Sequence[StepFacts], stops: Sequence[float]) -> StepFacts | None:
    limit = step.start + _SLACK
    inputs = [by_key[key] for key in step.inputs if key in by_key and _stop(by_key[key]) <= limit and by_key[key].start < step.start]
    if inputs:
        return max(inputs, key=_stop)
    for position in range(bisect_right(stops, limit) - 1, -1, -1):
        if own[position].key != step.key and own[position].start < step.start:
            return own[position]
    return None


def _stop(step: StepFacts) -> float:
    return step.start if step.stop is None else step.stop
