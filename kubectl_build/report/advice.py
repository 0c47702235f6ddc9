"""What somebody who wants a faster build would look at first (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from kubectl_build.report.facts import BuildFacts
from kubectl_build.report.words import bytes_text, seconds_text

_SLOW_SHARE, _SLOW_SECONDS = 0.2, 5.0
_LARGE = 50_000_000


class Code(str):
    """Words of a Dockerfile within a sentence."""

    __slots__ = ()


def advice(facts: BuildFacts) -> Iterator[tuple[str, ...]]:
    """Sentences in parts, the most useful first."""
    whole = facts.ended - facts.began
    emulated = [step for step in facts.steps if step.emulated]
    if emulated:
        seconds = sum(step.seconds for step in emulated)
        names = ", ".join(sorted({step.runs_on for step in emulated}))
        count = "1 step was" if len(emulated) == 1 else f"{len(emulated)} steps were"
        yield (
            f"{count} emulated for {names} and took {seconds_text(seconds)}. A node of that architecture runs them natively; a stage ",
            Code("FROM --platform=$BUILDPLATFORM"),
            " that cross-compiles needs none.",
        )
    slow = [step for step in facts.steps if step.key in set(facts.critical) and step.counts and not step.cached]
    slow.sort(key=lambda step: -step.seconds)
    if slow and slow[0].seconds > max(_SLOW_SECONDS, whole * _SLOW_SHARE):
        yield (
            f"{seconds_text(slow[0].seconds)} of {seconds_text(whole)} went into one step, on which the others wait: ",
            Code(slow[0].name),
        )
    sent = [transfer for transfer in facts.transfers if transfer.what == "context"]
    size, seconds = sum(transfer.size for transfer in sent), max((transfer.seconds for transfer in sent), default=0.0)
    if size > _LARGE and seconds > 1:
        each = f", once to each of {len(sent)} pools" if len(sent) > 1 else ""
        yield (
            f"{bytes_text(size)} of context were sent in {seconds_text(seconds)}{each}. A ",
            Code(".dockerignore"),
            " keeps out what no step copies.",
        )
