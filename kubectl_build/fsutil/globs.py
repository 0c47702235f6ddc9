"""Patterns with many wildcards, in time that grows with the path alone. Python's regular expressions try every way to share a name among
them, which takes hours for one name, and lets nothing else of this process run meanwhile; Go's do not."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[^\[\]\\|{^\n]*")
_TOKEN = re.compile(r"\*\*/?|\*|\?|.", re.DOTALL)


def tokens_of(text: str) -> list[str] | None:
    """Take a pattern apart; None for one that has few wildcards, or more than wildcards, which are left to regular expressions."""
    if text.count("*") < 3 or _PLAIN.fullmatch(text) is None:
        return None
    return _TOKEN.findall(text)


def matches(tokens: list[str], path: str) -> bool:
    """Whether a pattern's `tokens` match all of `path`. Bit i of `reached` says that what was tried so far may end before character i."""
    size = len(path)
    masks: dict[str, int] = {}
    for place, char in enumerate(path):
        masks[char] = masks.get(char, 0) | 1 << place
    slashes = masks.get("/", 0)
    others = ((1 << size) - 1) & ~slashes
    reached = 1
    for number, token in enumerate(tokens):
        if token == "*":
            reached |= ((reached & others) + others) ^ others  # the addition carries through each run of characters that are no slash
        elif token.startswith("**"):
            if number == len(tokens) - 1:
                return reached != 0
            reached |= (slashes & -(reached & -reached)) << 1
        elif token == "?":
            reached = (reached & others) << 1
        else:
            reached = (reached & masks.get(token, 0)) << 1
        if not reached:
            return False
    return bool(reached >> size & 1)
