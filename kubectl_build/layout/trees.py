"""Several tars of trees joined into one, each tree as it is: a daemon's tar has a directory for each platform. Everything here blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from kubectl_build.errors import ProtocolError
from kubectl_build.layout.archive import END, members, read_range
from kubectl_build.layout.store import unreadable
from kubectl_build.values import dataclass


@dataclass(frozen=True, slots=True)
class _Tree:
    """Where a tree lies in a tar: from its directory's header to the end of its last member."""

    name: str
    path: Path
    start: int
    end: int


def joined_trees(paths: Sequence[Path]) -> Iterator[bytes]:
    """The bytes of one tar with the trees of all, ordered by their names as a daemon orders them (fsutil, SubDirFS).

    Headers are kept as they came, with extended attributes and all that a tar can say. Raises ProtocolError for what is no such tar, for
    members that belong to no directory and for two trees of one name; UsageError when a file cannot be read.
    """
    trees = sorted((tree for path in paths for tree in _trees(path)), key=lambda tree: tree.name)
    for first, second in pairwise(trees):
        if first.name == second.name:
            raise ProtocolError(f'the builders sent two directories "{first.name}" for one archive')
    for tree in trees:
        try:
            with tree.path.open("rb", buffering=0) as file:
                yield from read_range(file.fileno(), tree.start, tree.end - tree.start)
        except OSError as exc:
            raise unreadable(tree.path, exc) from exc
    yield END


def _trees(path: Path) -> list[_Tree]:
    """Where the trees of a tar lie. A tree ends where the next one begins."""
    found: list[_Tree] = []
    try:
        for member, end in members(path):
            top, slash, _ = member.name.partition("/")
            if not slash and member.isdir():
                found.append(_Tree(top, path, member.offset, end))
            elif found and top == found[-1].name:
                found[-1] = replace(found[-1], end=end)
            else:
                raise ProtocolError(f'the builder sent "{member.name}" outside of the platforms\' directories')
    except OSError as exc:
        raise unreadable(path, exc) from exc
    return found
