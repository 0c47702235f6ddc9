"""Which flags of `docker buildx build` the cases have."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tests.parity.case import Case

NOT_COMPARED = ("--load", "--policy", "--help")
"""There is no image store in a cluster to load into, and no policies yet; help has words of its own."""
ALWAYS = "--builder"
"""Every build names its builder."""


def flags(usage: str, cases: Sequence[Case]) -> dict[str, list[str]]:
    """For each flag in the words of `docker buildx build --help`, the names of the cases that have it, in its short form too."""
    names = re.findall(r"^\s+(?:(-\w), +)?(--[a-z-]+)", usage, re.MULTILINE)
    used = {case.name: {arg.partition("=")[0] for args in (case.flags, *case.before) for arg in args} | {ALWAYS} for case in cases}
    return {long: [case for case, given in used.items() if {short, long} & given] for short, long in names if long not in NOT_COMPARED}
