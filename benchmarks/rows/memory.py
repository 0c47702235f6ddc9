"""The client's memory, and the tree of 200,000 files, which is made once for both of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import trees
from benchmarks.figures import Unit
from benchmarks.rig import ONE, Rig, settle
from benchmarks.row import Measure, Row
from benchmarks.side import Side
from benchmarks.timed import Timed
from benchmarks.trees import COPY_ALL, MIB

_DIRECTORIES, _EACH = 1000, 200
_PREFIX = "files-200k"


@contextmanager
def one_file(rig: Rig) -> Iterator[Measure]:
    """The file is sent in full each time: to a daemon a directory of another name is another context."""
    rig.builder(ONE)
    tree = trees.large(rig.directory / "memory", COPY_ALL, files=1, size=1024 * MIB)

    def measure(side: Side, number: int) -> Timed:
        nonlocal tree
        tree = tree.rename(rig.fresh("memory", side, number))
        settle()
        done = rig.build(side, ONE, tree)
        rig.prune()
        # Progress rounds to three figures: 1.07GB.
        return done.must(done.sent() >= 1070e6, f"only {done.sent():.0f} bytes of context were sent")

    try:
        yield measure
    finally:
        (tree / "data0").unlink()


def _tree(rig: Rig) -> Path:
    """The tree of empty files under its newest name; made when there is none."""
    for found in rig.directory.glob(f"{_PREFIX}-*"):
        return found
    return trees.many(rig.fresh(_PREFIX, Side.OURS, 0), COPY_ALL, directories=_DIRECTORIES, each=_EACH, size=0)


@contextmanager
def empty_files_first(rig: Rig) -> Iterator[Measure]:
    """Every round under a name that no daemon knows; both tools send the same tree."""
    rig.builder(ONE)
    tree = _tree(rig)

    def measure(side: Side, number: int) -> Timed:
        nonlocal tree
        if side is Side.OURS:
            tree = tree.rename(rig.fresh(_PREFIX, side, number))
            settle()
        return rig.build(side, ONE, tree)

    yield measure


@contextmanager
def empty_files_same(rig: Rig) -> Iterator[Measure]:
    """The warm-up is the first time, if no row before has sent it."""
    rig.builder(ONE)
    tree = _tree(rig)

    def measure(side: Side, number: int) -> Timed:
        done = rig.build(side, ONE, tree)
        return done.must(not number or "CACHED" in done.stderr, "something has changed")

    try:
        yield measure
    finally:
        rig.prune()


_LEAST = "The largest resident set of the client while it runs."

ROWS = (
    Row(
        name="memory-1g",
        shows=f"A file of 1 GiB in the context, sent in full. {_LEAST}",
        bar=2.0,
        unit=Unit.MEBIBYTES,
        warm=False,
        opened=one_file,
    ),
    Row(
        name="memory-200k",
        shows=f"200,000 empty files in 1,000 directories, sent for the first time. {_LEAST}",
        bar=1.3,
        unit=Unit.MEBIBYTES,
        warm=False,
        opened=empty_files_first,
    ),
    Row(
        name="files-200k-same",
        shows="200,000 empty files in 1,000 directories, nothing changed since the build before.",
        bar=0.6,
        opened=empty_files_same,
    ),
)
