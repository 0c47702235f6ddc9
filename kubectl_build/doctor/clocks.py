"""Clocks of others compared with ours (pure)."""

from __future__ import annotations

LARGEST_SKEW = 5.0
"""Seconds that nothing suffers from."""


def clock_skew(clock: float, before: float, after: float) -> float:
    """By how many seconds `clock`, which somebody who counts whole seconds told between `before` and `after` of our clock, is ahead of it.

    A skew within these is none.
    """
    return clock - after if clock > after else clock + 1 - before if clock + 1 < before else 0.0
