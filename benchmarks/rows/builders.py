"""A builder from nothing, a warm one, and a busy one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import timed, trees
from benchmarks.rig import ONE, PAIR, Rig, Shape, checked, settle
from benchmarks.row import Measure, Row
from benchmarks.side import Side
from benchmarks.timed import Timed

_AT_ONCE = 16
_SMALL = {
    "Dockerfile": "FROM busybox\nWORKDIR /app\nCOPY . .\nRUN cat *.txt > all\n",
    **{f"{name}.txt": f"the file {name}\n" for name in ("one", "two", "three", "four")},
}


@contextmanager
def start(rig: Rig) -> Iterator[Measure]:
    """From nothing to Ready; what was made is removed before the next begins."""

    def measure(side: Side, number: int) -> Timed:
        shape = Shape(name=f"start-{side.value}-{number}")
        (command,) = rig.create(side, shape)
        done = timed.run(command, rig.variables)
        pods = rig.kubectl("get", "pods", "-o", "jsonpath={range .items[*]}{.metadata.name} {.status.conditions}{'\\n'}{end}").splitlines()
        (mine,) = [pod for pod in pods if pod.startswith(shape.name)]
        done.must('"status":"True","type":"Ready"' in mine, f"the pod is not ready: {mine}")
        if side is Side.OURS:
            checked(["kubectl", "buildkit", "rm", "--force", shape.name], rig.variables)
        else:
            checked([rig.buildx, "rm", "--force", shape.name], rig.variables)
        rig.kubectl("wait", "--for=delete", "--timeout=60s", f"pod/{mine.split()[0]}")
        return done

    yield measure


@contextmanager
def warm(rig: Rig) -> Iterator[Measure]:
    """The second and every later build of a small project."""
    tree = trees.small(rig.directory / "small", _SMALL)

    def measure(side: Side, number: int) -> Timed:
        done = rig.build(side, ONE, tree)
        return done.must(not number or done.stderr.count("CACHED") == 3, "not all steps were cached")

    yield measure


@contextmanager
def crowd(rig: Rig) -> Iterator[Measure]:
    """Many builds at once; each has a context of its own, and steps that nobody has run."""
    rig.builder(PAIR)

    def measure(side: Side, number: int) -> Timed:
        commands = []
        for one in range(_AT_ONCE):
            tree = rig.fresh(f"crowd{one}", side, number)
            trees.small(tree, {**_SMALL, "own.txt": str(tree)})
            commands.append(rig.command(side, f"--builder={PAIR.name}", tree))
        settle()
        return timed.together(commands, rig.variables)

    yield measure


ROWS = (
    Row(
        name="builder-start",
        shows="A builder of one pod, from nothing to Ready; its image is on the node.",
        bar=0.2,
        opened=start,
        notes="buildx's own readiness probe waits 30 s, which is most of what it takes.",
    ),
    Row(
        name="warm-small",
        shows="A context of five small files, nothing changed, all steps cached: the whole command.",
        bar=3.0,
        aim=1.5,
        opened=warm,
        runs=15,
    ),
    Row(
        name="builds-16",
        shows=f"{_AT_ONCE} builds of small contexts with a RUN that is new, all at once on one builder of two pods; "
        "from the first start to the last end.",
        bar=1.0,
        opened=crowd,
        notes="The command is the first of the 16.",
    ),
)
