"""Which paths an include list must have so that symbolic links among the wanted paths lead somewhere (fsutil, followlinks.go)."""

from __future__ import annotations

import os
from collections.abc import Sequence

from kubectl_build.fsutil.gopath import BadPatternError, clean, has_wildcards, join, match


def follow_links(root: str, paths: Sequence[str]) -> list[str] | None:
    """Return `paths` and what their links point to inside `root`, sorted, nothing twice or below another; None when that is all of `root`.

    Wildcards may stand in any element. Targets never leave `root`: an absolute one starts at it. Raises OSError for a directory that cannot
    be listed.
    """
    resolver = _Resolver(root)
    for path in paths:
        resolver.add(path)
    return dedupe_paths(sorted(resolver.resolved))


def dedupe_paths(paths: Sequence[str]) -> list[str] | None:
    """Drop paths that lie below the one kept before them; None when "." is among them, which means no filter at all."""
    kept: list[str] = []
    last = ""
    for path in paths:
        if path == ".":
            return None
        if not path.startswith(last + "/"):
            kept.append(path)
            last = path
    return kept


class _Resolver:
    def __init__(self, root: str) -> None:
        self._root = root
        self.resolved: set[str] = set()

    def add(self, path: str) -> None:
        """Resolve `path`, and what its links lead to, however many follow each other."""
        pending = [path]
        while pending:
            # In the order in which they are met, each to its end: what is resolved already is not looked at again.
            pending[:0] = self._resolve(pending.pop(0))

    def _resolve(self, path: str) -> list[str]:
        """Note the path, or the first link on it; return where that leads."""
        rest = join("/", path)[1:] or "."  # nothing leads out of the root
        current = "."
        while True:
            element, _, rest = rest.partition("/")
            current = join(current, element)
            targets = self._targets(current)
            if (not rest or targets) and current in self.resolved:
                return []
            if targets:
                self.resolved.add(current)
                return [join(target, rest) for target in targets]
            if not rest:
                self.resolved.add(current)
                return []

    def _targets(self, path: str) -> list[str]:
        """Return where the links that `path` names point to; several when its last element has wildcards."""
        directory, name = os.path.split(path)
        if not has_wildcards(name):
            target = self._target(path)
            return [] if target is None else [target]
        try:
            names = sorted(os.listdir(os.path.join(self._root, directory)))
        except (FileNotFoundError, NotADirectoryError):
            return []
        found = (self._target(join(directory, entry)) for entry in names if _matches(name, entry))
        return [target for target in found if target is not None]

    def _target(self, path: str) -> str | None:
        if path in (".", "/"):
            return None
        try:
            link = os.readlink(os.path.join(self._root, path))
        except OSError:  # not a link, or not there
            return None
        link = clean(link)
        return link if link.startswith("/") else join("/", os.path.dirname(path), link)


def _matches(pattern: str, name: str) -> bool:
    try:
        return match(pattern, name)
    except BadPatternError:
        return False
