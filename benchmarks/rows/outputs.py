"""Results on their way to the client."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import trees
from benchmarks.rig import ONE, Rig, settle
from benchmarks.row import Measure, Row
from benchmarks.side import Side
from benchmarks.timed import Timed
from benchmarks.trees import MIB

_FILES = 20_000
_FOLDERS = 100
_MANY = (
    "FROM busybox AS made\n"
    "RUN mkdir /out && cd /out && "
    f"for d in $(seq {_FOLDERS}); do mkdir d$d; for f in $(seq {_FILES // _FOLDERS}); do echo $d $f > d$d/f$f; done; done\n"
    "FROM scratch\nCOPY --from=made /out /\n"
)
_LARGE = f"FROM busybox AS made\nRUN head -c {512 * MIB} /dev/urandom > /data\nFROM scratch\nCOPY --from=made /data /\n"


@contextmanager
def local(rig: Rig) -> Iterator[Measure]:
    """Many files into a new directory; the warm-up makes them."""
    tree = trees.small(rig.directory / "many", {"Dockerfile": _MANY})
    made: list[Path] = []

    def measure(side: Side, number: int) -> Timed:
        target = rig.fresh("local", side, number)
        done = rig.build(side, ONE, f"--output=type=local,dest={target}", tree)
        made.append(target)  # they stay until the end: see rig.settle
        count = sum(len(files) for _, _, files in os.walk(target))
        settle()
        return done.must(count == _FILES, f"{count} files came")

    try:
        yield measure
    finally:
        for target in made:
            shutil.rmtree(target)


@contextmanager
def oci(rig: Rig) -> Iterator[Measure]:
    """One large archive; the warm-up makes and compresses its layer."""
    tree = trees.small(rig.directory / "large", {"Dockerfile": _LARGE})

    def measure(side: Side, number: int) -> Timed:
        target = rig.fresh("oci.tar", side, number)
        done = rig.build(side, ONE, f"--output=type=oci,dest={target}", tree)
        with tarfile.open(target) as archive:
            sizes = {member.name: member.size for member in archive}
        target.unlink()
        settle()
        return done.must("index.json" in sizes and max(sizes.values()) >= 512 * MIB, f"the archive has {sizes}")

    try:
        yield measure
    finally:
        rig.prune()


ROWS = (
    Row(
        name="output-local-20k",
        shows="`-o type=local` of 20,000 small files that are cached in the builder.",
        bar=1.1,
        opened=local,
    ),
    Row(
        name="output-oci-512m",
        shows="`-o type=oci` of an image of 512 MiB of incompressible bytes that is cached in the builder.",
        bar=1.1,
        opened=oci,
    ),
)
