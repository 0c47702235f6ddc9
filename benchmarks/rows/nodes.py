"""What a plan costs in a large cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks import timed, trees
from benchmarks.nodes import second_cluster
from benchmarks.rig import Rig
from benchmarks.row import Measure, Row
from benchmarks.side import Side
from benchmarks.timed import Timed

_NODES = {Side.OURS: 5000, Side.THEIRS: 2}
_BUILDER = "plans"


@contextmanager
def plan(rig: Rig) -> Iterator[Measure]:
    """An amd64 pool is there, one for arm64 is not: the nodes have to be asked for."""
    tree = trees.small(rig.directory / "plan", {"Dockerfile": "FROM busybox\nRUN echo made > /made\n"})
    rig.kubectl("buildkit", "create", _BUILDER, f"--buildkitd-config={rig.directory / 'buildkitd.toml'}", "--security=privileged")
    rig.kubectl("build", f"--builder={_BUILDER}", "--platform=linux/amd64", str(tree))
    command = rig.command(Side.OURS, "--plan", f"--builder={_BUILDER}", "--platform=linux/amd64,linux/arm64", tree)
    try:
        with ExitStack() as stack:
            configs = {side: str(stack.enter_context(second_cluster(rig, _BUILDER, count))) for side, count in _NODES.items()}

            def measure(side: Side, number: int) -> Timed:
                done = timed.run(command, {**rig.variables, "KUBECONFIG": configs[side]})
                return done.must(done.stdout.count("native") == len(("amd64", "arm64")), f"the plan is not native twice: {done.stdout}")

            yield measure
    finally:
        rig.kubectl("buildkit", "rm", "--force", _BUILDER)


ROWS = (
    Row(
        name="plan-5000",
        shows="`--plan` for two platforms, one of which has no pool yet, in a cluster of 5,000 nodes and in one of 2.",
        bar=1.2,
        opened=plan,
        runs=9,
        sides=("5,000 nodes", "2 nodes"),
        notes="Each is a second API server with a store of its own and Node objects alone, as large as real ones and Ready; "
        "the builder's objects are copied there, and commands reach the real pod through the real kubelet.",
    ),
)
