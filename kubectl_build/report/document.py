"""The facts of a build as the page's script reads them: one JSON object, times in seconds since the build's begin (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from kubectl_build.model.json import JsonObject
from kubectl_build.model.observed import SourceFile
from kubectl_build.progress.state import StepKey
from kubectl_build.report.facts import BuildFacts, PlatformFacts, StepFacts
from kubectl_build.report.words import bytes_text, instruction, short_name

_MOST_LINES = 20_000
"""Lines of a Dockerfile that are shown."""


def report_document(facts: BuildFacts) -> JsonObject:
    """All that the page draws. Steps are named by their number in `steps`; what is not true or empty is left out."""
    numbers = {step.key: number for number, step in enumerate(facts.steps)}
    pools = {pool.label: number for number, pool in enumerate(facts.pools)}
    critical = frozenset(facts.critical)
    return {
        "seconds": round(facts.ended - facts.began, 3),
        "pools": [{"name": pool.pool, "pod": pool.pod, "node": pool.node} for pool in facts.pools],
        "steps": [_step(step, facts, pools, numbers, critical) for step in facts.steps],
        "critical": [numbers[key] for key in facts.critical],
        "sources": [
            {"name": source.name, "lines": _lines(source), "marks": _marks(number, facts.steps)}
            for number, source in enumerate(facts.sources)
        ],
        "images": [_image(platform) for platform in facts.platforms if platform.layers is not None],
    }


def _step(
    step: StepFacts,
    facts: BuildFacts,
    pools: Mapping[str, int],
    numbers: Mapping[StepKey, int],
    critical: frozenset[StepKey],
) -> JsonObject:
    runs = [
        [round(max(at - facts.began, 0.0), 3) for at in (run.start, facts.ended if run.stop is None else run.stop)] for run in step.runs
    ]
    name = short_name(step.name)
    said = {
        "name": name,
        "full": step.name if step.name != name else "",
        "pool": pools[step.pool],
        "start": runs[0][0],
        "stop": runs[-1][1],
        "runs": runs if len(runs) > 1 else [],
        "seconds": round(step.seconds, 3),
        "state": step_state(step),
        "emulated": step.emulated,
        "critical": step.key in critical,
        "own": not step.counts,
        "platforms": list(step.platforms),
        "runsOn": step.runs_on,
        "error": step.error,
        "inputs": sorted(numbers[key] for key in step.inputs if key in numbers),
        "spans": [list(span) for span in step.spans],
        "log": list(step.log),
        "dropped": step.dropped,
    }
    return {name: value for name, value in said.items() if value or name in ("pool", "start", "stop", "seconds")}


def step_state(step: StepFacts) -> str:
    """One word: failed, canceled, unfinished, cached or ran."""
    if step.canceled:
        return "canceled"
    if step.error:
        return "failed"
    if step.stop is None:
        return "unfinished"
    return "cached" if step.cached else "ran"


_WORST = ("failed", "unfinished", "canceled", "ran", "cached")


def _marks(number: int, steps: Sequence[StepFacts]) -> list[JsonObject]:
    """Which lines of a file took how long: each range once, with the steps that come from it, the longest first."""
    places: dict[tuple[int, int], list[int]] = {}
    for position, step in enumerate(steps):
        own = [(first, last) for file, first, last in step.spans if file == number and first > 0]
        if own and _follows(own):
            own = [(min(first for first, _ in own), max(last for _, last in own))]
        for place in own:
            places.setdefault(place, []).append(position)
    marks = []
    for (first, last), found in sorted(places.items()):
        found.sort(key=lambda position: -steps[position].seconds)
        states = {step_state(steps[position]) for position in found}
        marks.append(
            {
                "first": first,
                "last": last,
                "seconds": round(steps[found[0]].seconds, 3),
                "state": next(state for state in _WORST if state in states),
                "emulated": any(steps[position].emulated for position in found),
                "steps": found,
            }
        )
    return marks


def _follows(spans: Sequence[tuple[int, int]]) -> bool:
    """Whether spans are the lines of one instruction: the frontend tells each line of a long one by itself."""
    ordered = sorted(spans)
    return all(later[0] <= earlier[1] + 1 for earlier, later in pairwise(ordered))


def _lines(source: SourceFile) -> list[str]:
    lines = source.text.split("\n")
    if lines[-1:] == [""]:
        lines.pop()
    return lines[:_MOST_LINES]


def _image(platform: PlatformFacts) -> JsonObject:
    layers = platform.layers or ()
    return {
        "platform": platform.platform,
        "size": bytes_text(sum(layer.size for layer in layers)),
        "layers": [
            {"digest": layer.digest, "size": layer.size, "text": bytes_text(layer.size), "by": instruction(layer.made_by)}
            for layer in layers
        ],
    }
