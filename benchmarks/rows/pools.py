"""Two platforms on two architectures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from benchmarks import trees
from benchmarks.rig import ARCHES, TWO, Rig, settle
from benchmarks.row import Measure, Row
from benchmarks.side import Side
from benchmarks.timed import Timed
from benchmarks.trees import COPY_ALL, MIB
from tests.e2e.registry import Registry

_PLATFORMS = "--platform=" + ",".join(f"linux/{arch}" for arch in ARCHES)
_STEPS = 40


def _platforms(rig: Rig, image: str) -> list[str]:
    """What the registry has under a name."""
    stored = rig.registry
    repository = image.removeprefix(f"{stored.address}/").removesuffix(":latest")
    reader = Registry(url=stored.url, user=stored.user, password=stored.password, ca=stored.ca)
    index = json.loads(reader.manifest(repository, "latest").data)
    return [item["platform"]["architecture"] for item in index["manifests"]]


def pushed(name: str, dockerfile: str) -> Callable[[Rig], AbstractContextManager[Measure]]:
    """256 MiB that no daemon has seen, built for both platforms and pushed."""

    @contextmanager
    def opened(rig: Rig) -> Iterator[Measure]:
        rig.builder(TWO)

        def measure(side: Side, number: int) -> Timed:
            tree = trees.large(rig.fresh(name, side, number), dockerfile, files=4, size=64 * MIB)
            settle()
            image = rig.image(name, side, number)
            done = rig.build(side, TWO, _PLATFORMS, f"--tag={image}", "--push", tree)
            shutil.rmtree(tree)
            found = _platforms(rig, image)
            done.must(found == list(ARCHES), f"the registry has {found}")
            rig.prune()
            return done

        yield measure

    return opened


@contextmanager
def steps(rig: Rig) -> Iterator[Measure]:
    """Many steps, none of which runs again."""
    rig.builder(TWO)
    runs = "".join(f"RUN echo {number} > /step{number}\n" for number in range(_STEPS))
    tree = trees.small(rig.directory / "steps", {"Dockerfile": f"FROM busybox\n{runs}"})

    def measure(side: Side, number: int) -> Timed:
        done = rig.build(side, TWO, _PLATFORMS, tree)
        cached = done.stderr.count("CACHED")
        return done.must(not number or cached == _STEPS * len(ARCHES), f"{cached} steps were cached")

    yield measure


ROWS = (
    Row(
        name="two-pools-256m",
        shows="256 MiB of incompressible context for linux/amd64 and linux/arm64, with one RUN for each on a pod of its own; pushed.",
        bar=0.8,
        opened=pushed("two-pools", "FROM busybox\nCOPY . /context/\nRUN ls -l /context > /list\n"),
    ),
    Row(
        name="two-pools-copy",
        shows="The same context and platforms, COPY only; pushed.",
        bar=0.7,
        opened=pushed("two-copies", COPY_ALL),
    ),
    Row(
        name="steps-40-cached",
        shows="40 RUN steps for linux/amd64 and linux/arm64 on a pod each, all cached.",
        bar=1.5,
        opened=steps,
        runs=9,
    ),
)
