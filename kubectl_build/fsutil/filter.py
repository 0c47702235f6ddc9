"""Which entries of a directory are sent: include patterns, exclude patterns and followed links, with whole directories skipped early.

The decisions, and the moments at which a directory need not be looked into, are those of fsutil's filter.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kubectl_build.fsutil.followlinks import dedupe_paths, follow_links
from kubectl_build.fsutil.patterns import Matched, Pattern, PatternMatcher

_PATTERN_CHARACTERS = re.compile(r"[*\[\]?^\\]")


class Decision(NamedTuple):
    """What to do with one entry. `include` and `exclude` are for the entries below it."""

    send: bool
    descend: bool
    include: Matched
    exclude: Matched


_ALL = Decision(True, True, (), ())


class Filter:
    """Decides entry by entry, top down. `open` says that everything is sent."""

    def __init__(self, *, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        """Take patterns as the daemon sends them. An empty list filters nothing. Raises UsageError for a malformed pattern."""
        self._include = PatternMatcher(include) if include else None
        self._exclude = PatternMatcher(exclude) if exclude else None
        self.open = self._include is None and self._exclude is None
        self._include_parents = _parents(p for p in self._include.patterns if not p.exclusion) if self._include else None
        self._exception_parents = _parents(p for p in self._exclude.patterns if p.exclusion) if self._exclude else None

    def decide(self, path: str, include: Matched = (), exclude: Matched = ()) -> Decision:
        """Decide about `path`, given the Decision's fields of the directory that holds it. `descend` is meant for directories alone."""
        if self.open:
            return _ALL
        send = descend = True
        if self._include is not None:
            included, include = self._include.match(path, include)
            if not included:
                send = False
                descend = self._include_parents is None or path in self._include_parents
        if self._exclude is not None and descend:
            excluded, exclude = self._exclude.match(path, exclude)
            if excluded:
                send = False
                descend = self._exception_parents is None or path in self._exception_parents
        return Decision(send, descend, include, exclude)


def make_filter(root: str, *, include: Sequence[str], exclude: Sequence[str], follow: Sequence[str]) -> Filter:
    """Build the filter of one request; the links that `follow` meets are read now. Raises UsageError and OSError."""
    patterns: Sequence[str] = include
    if follow:
        targets = follow_links(root, follow)
        if targets is not None:
            patterns = dedupe_paths([*include, *targets]) or ()
    return Filter(include=patterns, exclude=exclude)


def _parents(patterns: Iterable[Pattern]) -> frozenset[str] | None:
    """Return the directories in or below which something may match; None when a pattern has wildcards inside, so that any may."""
    found: set[str] = set()
    for pattern in patterns:
        text = pattern.without_trailing_glob
        if _PATTERN_CHARACTERS.search(text):
            return None
        parts = text.split("/")
        found.update("/".join(parts[:count]) for count in range(1, len(parts) + 1))
    return frozenset(found)
