"""`python -m benchmarks.growth`: how a build's cost grows, as points and the line through them, and what a warm build loads.

Writes both into docs/performance.md, between its markers.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import trees
from benchmarks.nodes import second_cluster
from benchmarks.rig import ONE, Rig, Shape, ready
from benchmarks.side import Side
from tests.cluster import owner
from tests.cluster.say import Trouble, say
from tests.e2e import environment

_PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
_SMALL = {"Dockerfile": trees.COPY_ALL, "file": "text\n"}
_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")
_SHOWN = 12
_LOCK_S = 1800


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one run: seconds on the clock, and of the client's processor time."""

    wall: float
    cpu: float


Points = Iterable[tuple[float, Callable[[], Cost]]]
"""How much there is of what grows, and a run with so much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """One thing that grows. `per` of it are the step for which the line's slope is told."""

    name: str
    what: str
    per: float
    step: str
    opened: Callable[[Rig], AbstractContextManager[Points]]


def _cost(command: Sequence[str], variables: Mapping[str, str]) -> Cost:
    """Run a command to its end. Raises Trouble when it fails."""
    since = time.monotonic()
    with subprocess.Popen(
        command, env=dict(variables), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Trouble(f"{' '.join(command)}: exit code {process.returncode}: {said[-500:].decode(errors='replace')}")
    return Cost(wall=time.monotonic() - since, cpu=usage.ru_utime + usage.ru_stime)


def _build(rig: Rig, shape: Shape, *arguments: str | Path) -> Callable[[], Cost]:
    command = rig.command(Side.OURS, f"--builder={shape.name}", *arguments)
    return lambda: _cost(command, rig.variables)


def _made(rig: Rig, shape: Shape) -> Shape:
    """Have a builder, ours alone."""
    for command in rig.create(Side.OURS, shape):
        _cost(command, rig.variables)
    return shape


@contextmanager
def _files(rig: Rig) -> Iterator[Points]:
    shape = _made(rig, ONE)
    points = []
    for count in (100, 1000, 10_000, 20_000, 40_000):
        tree = trees.many(rig.directory / f"files-{count}", trees.COPY_ALL, directories=count // 100, each=100, size=200)
        points.append((float(count), _build(rig, shape, tree)))
    yield points


@contextmanager
def _bytes(rig: Rig) -> Iterator[Points]:
    shape = _made(rig, ONE)

    def fresh(size: int) -> Callable[[], Cost]:
        root = rig.directory / f"bytes-{size}"
        trees.large(root, trees.COPY_ALL, files=1, size=size * trees.MIB)
        build = _build(rig, shape, "--no-cache", root)

        def run() -> Cost:
            with (root / "data0").open("r+b") as file:
                for _ in range(size):
                    file.write(os.urandom(trees.MIB))
            return build()

        return run

    yield [(float(size), fresh(size)) for size in (1, 32, 64, 128)]


@contextmanager
def _platforms(rig: Rig) -> Iterator[Points]:
    shape = _made(rig, ONE)
    tree = trees.small(rig.directory / "platforms", _SMALL)
    names = ["linux/amd64", "linux/386", "linux/s390x", "linux/ppc64le", "linux/riscv64", "linux/arm/v7"]
    yield [
        (float(count), _build(rig, shape, "--emulation=always", f"--platform={','.join(names[:count])}", tree))
        for count in range(1, len(names) + 1)
    ]


@contextmanager
def _pods(rig: Rig) -> Iterator[Points]:
    tree = trees.small(rig.directory / "pods", _SMALL)

    def one_by_one() -> Points:
        """Nodes are small: each builder goes before the next one comes."""
        for count in (1, 2, 3, 4):
            shape = _made(rig, Shape(name=f"pods-{count}", replicas=count))
            yield float(count), _build(rig, shape, tree)
            rig.kubectl("buildkit", "rm", "--force", shape.name)

    yield one_by_one()


@contextmanager
def _nodes(rig: Rig) -> Iterator[Points]:
    shape = _made(rig, ONE)
    tree = trees.small(rig.directory / "nodes", _SMALL)
    command = rig.command(Side.OURS, "--plan", f"--builder={shape.name}", "--platform=linux/amd64,linux/arm64", tree)
    with ExitStack() as stack:
        configs = [(count, stack.enter_context(second_cluster(rig, shape.name, count))) for count in (2, 500, 2000, 5000)]
        yield [
            (float(count), lambda config=config: _cost(command, {**rig.variables, "KUBECONFIG": str(config)}))  # type: ignore[misc]
            for count, config in configs
        ]


GROWTHS = (
    Growth(name="files", what="files of 200 bytes, nothing changed", per=10_000, step="10,000 files", opened=_files),
    Growth(name="bytes", what="MiB of new incompressible bytes in one file", per=1, step="MiB", opened=_bytes),
    Growth(name="platforms", what="platforms, all cross, nothing changed", per=1, step="platform", opened=_platforms),
    Growth(name="pods", what="pods in the pool, nothing changed", per=1, step="pod", opened=_pods),
    Growth(name="nodes", what="nodes of the cluster, `--plan` for two platforms", per=1000, step="1,000 nodes", opened=_nodes),
)


def _measured(rig: Rig, growth: Growth, runs: int) -> str:
    """A section of the page: the points, each the median of `runs` after a warm-up, and the lines through them."""
    rows, xs, costs = [], [], []
    with growth.opened(rig) as points:
        for amount, run in points:
            run()
            done = [run() for _ in range(runs)]
            cost = Cost(wall=statistics.median(c.wall for c in done), cpu=statistics.median(c.cpu for c in done))
            say(f"{growth.name} {amount:g}: {cost.wall:.2f} s, processor {cost.cpu:.2f} s")
            rows.append(f"| {amount:,.0f} | {cost.wall:.2f} | {cost.cpu:.2f} |")
            xs.append(amount)
            costs.append(cost)
    lines = []
    for title, values in (("Clock", [cost.wall for cost in costs]), ("Client's processor", [cost.cpu for cost in costs])):
        slope, base = statistics.linear_regression(xs, values)
        lines.append(f"{title}: {base:.2f} s and {slope * growth.per * 1000:.1f} ms per {growth.step}.")
    head = f"| {growth.name} | clock s | processor s |"
    return "\n".join([f"### {growth.what}", "", head, "| ---: | ---: | ---: |", *rows, "", *lines, ""])


def _loaded(rig: Rig, runs: int) -> str:
    """A section of the page: what the warm build loads, by package; each module at its least of `runs`."""
    shape = _made(rig, ONE)
    tree = trees.small(rig.directory / "loaded", _SMALL)
    build = _build(rig, shape, tree)
    costs = [build() for _ in range(runs + 1)][1:]
    program = [sys.executable, "-X", "importtime", "-c", "from kubectl_build.cli.main import build_main; build_main()"]
    least: dict[str, int] = {}
    for _ in range(runs):
        done = subprocess.run(
            [*program, f"--builder={shape.name}", str(tree)], env=dict(rig.variables), capture_output=True, text=True, check=True
        )
        for line in done.stderr.splitlines():
            if match := _IMPORT.match(line):
                least[match[2]] = min(least.get(match[2], 10**9), int(match[1]))
    spent, modules = Counter[str](), Counter[str]()
    for name, microseconds in least.items():
        package = name.partition(".")[0]
        package = "the standard library" if package in sys.stdlib_module_names else package
        spent[package] += microseconds
        modules[package] += 1
    rows = [f"| {package} | {modules[package]} | {spent[package] / 1000:.1f} |" for package, _ in spent.most_common(_SHOWN)]
    wall, cpu = (statistics.median(values) for values in ([c.wall for c in costs], [c.cpu for c in costs]))
    return "\n".join([
        f"A warm build of two small files takes {wall:.2f} s, of which the client computes {cpu:.2f} s; loading modules is "
        f"{sum(least.values()) / 1e6:.2f} s of that (measured module by module, which itself costs some).",
        "", "| package | modules | ms |", "| --- | ---: | ---: |", *rows, "",
    ])  # fmt: skip


def _written(text: str, mark: str, page: str) -> str:
    begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    if begin not in page:
        raise Trouble(f"{_PAGE.name} has no line {begin}")
    before, rest = page.split(begin, 1)
    return f"{before}{begin}\n\n{text}\n{end}{rest.split(end, 1)[1]}"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=["loaded", *(growth.name for growth in GROWTHS)], help="only these")
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each point, 5 by default")
    parser.add_argument("--no-write", action="store_true", help="leave docs/performance.md as it is")
    arguments = parser.parse_args()
    cluster = environment.load()
    if cluster is None:
        raise Trouble("the local cluster is not up: run `make cluster`")
    wanted = arguments.only or ["loaded", *(growth.name for growth in GROWTHS)]
    load = f"Measured at a load average of {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors, {time.strftime('%Y-%m-%d')}."
    with owner.tests_lock(timeout_s=_LOCK_S), ready(cluster) as rig:
        sections = {"loaded": lambda: _loaded(rig, arguments.runs)}
        sections |= {growth.name: partial(_measured, rig, growth, arguments.runs) for growth in GROWTHS}
        for name in wanted:
            text = sections[name]()
            print(text, flush=True)
            if not arguments.no_write:
                _PAGE.write_text(_written(f"{text}\n{load}\n", name, _PAGE.read_text()))


if __name__ == "__main__":
    try:
        main()
    except (Trouble, subprocess.SubprocessError) as trouble:
        sys.exit(f"growth: {trouble}")
