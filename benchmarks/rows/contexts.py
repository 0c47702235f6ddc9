"""The build context on its way: large files, many files, a source tree, a slow path."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from benchmarks import trees
from benchmarks.rig import ONE, Rig, settle
from benchmarks.row import Measure, Row
from benchmarks.side import Side
from benchmarks.timed import Timed
from benchmarks.trees import COPY_ALL, MIB

_DIRECTORIES, _EACH, _BYTES = 400, 100, 200
_CHANGED = 10
_SOURCE_FILES = 6000
_SLOW_FILES = 1500
_RATE = 10e6 / 8
_ROUND_TRIP = 0.05


def fresh(name: str, make: Callable[[Path], Path], sent: float) -> Callable[[Rig], AbstractContextManager[Measure]]:
    """A tree that no daemon has seen, made anew for each run; at least `sent` bytes of it must go over."""

    @contextmanager
    def opened(rig: Rig) -> Iterator[Measure]:
        rig.builder(ONE)
        made: list[Path] = []

        def measure(side: Side, number: int) -> Timed:
            tree = make(rig.fresh(name, side, number))
            made.append(tree)  # they stay until the end: see rig.settle
            # A project has names of its own: buildx knows a context by its directory's name, we by the names in it.
            (tree / f"{tree.name}.txt").touch()
            settle()
            done = rig.build(side, ONE, tree)
            return done.must(done.sent() >= sent, f"{done.sent():.0f} bytes of context were sent, not {sent:.0f}")

        try:
            yield measure
        finally:
            for tree in made:
                shutil.rmtree(tree)
            rig.prune()

    return opened


def forty_thousand(root: Path) -> Path:
    """The tree of the rows files-40k."""
    return trees.many(root, COPY_ALL, directories=_DIRECTORIES, each=_EACH, size=_BYTES)


def again(changed: int) -> Callable[[Rig], AbstractContextManager[Measure]]:
    """The same tree every time, but for some files; the warm-up is the first time."""

    @contextmanager
    def opened(rig: Rig) -> Iterator[Measure]:
        rig.builder(ONE)
        kept = {side: forty_thousand(rig.fresh(f"files-40k-{changed}", side, 0)) for side in Side}
        settle()

        def measure(side: Side, number: int) -> Timed:
            if number:
                trees.change(kept[side], changed, _BYTES)
            done = rig.build(side, ONE, kept[side])
            if number:
                done.must(("CACHED" in done.stderr) is not bool(changed), "the files that changed and the cache do not agree")
                done.must(done.sent() < _DIRECTORIES * _EACH * _BYTES, "the whole context was sent again")
            return done

        try:
            yield measure
        finally:
            rig.prune()

    return opened


@contextmanager
def slow(rig: Rig) -> Iterator[Measure]:
    """A source tree that no daemon has seen, over a slow path."""
    opened = fresh("source", lambda root: trees.source(root, files=_SLOW_FILES), _SLOW_FILES * 10_000)
    with opened(rig) as measure, rig.slow(rate=_RATE, round_trip=_ROUND_TRIP):
        yield measure


ROWS = (
    Row(
        name="context-256m",
        shows="256 MiB of incompressible bytes in 4 files, sent for the first time.",
        bar=1.0,
        opened=fresh("context", lambda root: trees.large(root, COPY_ALL, files=4, size=64 * MIB), 256 * MIB),
    ),
    Row(
        name="files-40k-first",
        shows="40,000 files of 200 bytes in 400 directories, sent for the first time.",
        bar=1.1,
        opened=fresh("files", forty_thousand, _DIRECTORIES * _EACH * _BYTES),
    ),
    Row(
        name="files-40k-same",
        shows="The same 40,000 files, nothing changed since the build before.",
        bar=0.6,
        opened=again(0),
    ),
    Row(
        name="files-40k-changed10",
        shows="The same 40,000 files, of which 10 have changed since the build before.",
        bar=0.6,
        opened=again(_CHANGED),
    ),
    Row(
        name="source-tree",
        shows=f"A source tree of about 100 MB in {_SOURCE_FILES:,} files, sent for the first time; "
        f"a `.dockerignore` of {trees.rules()} rules keeps a quarter of the files out.",
        bar=0.9,
        opened=fresh("source", lambda root: trees.source(root, files=_SOURCE_FILES), _SOURCE_FILES * 10_000),
    ),
    Row(
        name="slow-link",
        shows="A source tree of the same kind, sent for the first time over a path of 10 Mbit/s each way and 50 ms there and back: "
        f"{_SLOW_FILES:,} files of about 25 MB, so that buildx ends in reasonable time.",
        bar=0.5,
        opened=slow,
        notes="The path is a proxy between the client and the API server; registries and pods are as near as ever.",
    ),
)
