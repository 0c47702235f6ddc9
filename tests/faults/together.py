"""Several people at once: builds from nothing, builders that go while somebody builds, two who change one builder."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.faults.bench import AMD64, Bench, until
from tests.faults.fault import Fault, Seen, Strikes, told

_NAME = "shared"
_BUILDS = 20


def _twenty(bench: Bench) -> Seen:
    """All start together, and there is no builder yet."""
    bench.remove(_NAME)
    began = time.monotonic()
    try:
        names = [bench.name("together") for _ in range(_BUILDS)]
        trees = [bench.step(0) for _ in names]
        clients = [bench.build(tree, "-t", name, "--push", builder=_NAME) for tree, name in zip(trees, names, strict=True)]
        for client, name in zip(clients, names, strict=True):
            code = client.ends(300)
            assert code == 0, f"exit code {code}\n{client.stderr}"
            repository, _, tag = name.partition("/")[2].rpartition(":")
            digest = bench.stored.image(repository, tag).digest
            assert digest in client.stderr, f"{digest} is not what was told\n{client.stderr}"
            assert not client.left(), client.left()
        sets = [name for name in bench.namespace.stateful_sets() if name.startswith(_NAME)]
        assert sets == [f"{_NAME}-amd64"], sets
    finally:
        bench.remove(_NAME)
    return Seen(outcome=f"{_BUILDS} builds succeed on one builder", seconds=time.monotonic() - began, told="")


def _ended_by(verb: str, *flags: str) -> Callable[[Bench], Seen]:
    """Somebody removes or stops the builder while a build runs."""
    forced = "--force" in flags

    def scenario(bench: Bench) -> Seen:
        with bench.builder(_NAME, "--bootstrap"):
            client = bench.build(bench.step(60 if forced else 8), "--retries=0", builder=_NAME)
            client.says(" begun", 60)
            other = bench.start(verb, _NAME, *flags, program="kubectl-buildkit")
            began = time.monotonic()
            assert other.ends(60) == 0, other.stderr
            code = client.ends(60)
            seconds = time.monotonic() - began
            assert code == (5 if forced else 0), f"exit code {code}\n{client.stderr}"
            until(
                "the end of the builder's pods",
                lambda: not bench.kubectl("get", "pods", "-l", f"app.kubernetes.io/instance={_NAME}", "-o", "name").ok().stdout,
                40,
            )
        said = told(client.stderr, ()) if forced else told(other.stderr, ("build",))
        return Seen(outcome=f"{verb} 0, the build {code}", seconds=seconds, told=said)

    return scenario


def _two_specs(bench: Bench) -> Seen:
    """Two `create` with different requests at the same time: each is applied whole, or refused in words."""
    began = time.monotonic()
    with bench.builder(_NAME):
        arguments = [("create", _NAME, AMD64, f"--labels=team={team}") for team in ("one", "two")]
        clients = [bench.start(*given, program="kubectl-buildkit") for given in arguments]
        codes = [client.ends(60) for client in clients]
        assert 0 in codes, "\n".join(client.stderr for client in clients)
        assert set(codes) <= {0, 4}, codes
        config = bench.kubectl("get", f"statefulset/{_NAME}-amd64", "-o", "jsonpath={.metadata.labels.team}").ok().stdout
        winners = [team for team, code in zip(("one", "two"), codes, strict=True) if code == 0]
        assert config in winners, f"{config} is what the set has, {winners} is what was told"
        both = {
            bench.kubectl("get", kind, "-o", "jsonpath={.metadata.labels.team}").ok().stdout
            for kind in (f"statefulset/{_NAME}-amd64", f"configmap/{_NAME}")
        }
        assert both == {config}, f"a mixture: {both}"
    refused = next((client for client, code in zip(clients, codes, strict=True) if code), None)
    said = told(refused.stderr, ()) if refused else ""
    return Seen(outcome="both, one after the other" if refused is None else "one is refused", seconds=time.monotonic() - began, told=said)


def _row(name: str, scenario: Callable[[Bench], Seen], *, class_sample: bool = False) -> Fault:
    return Fault(name=name, group="together", strikes=Strikes.OTHERWISE, scenario=scenario, class_sample=class_sample)


FAULTS = (
    _row("20 builds at once from nothing", _twenty),
    _row("rm during a build", _ended_by("rm")),
    _row("rm --force during a build", _ended_by("rm", "--force")),
    _row("stop during a build", _ended_by("stop")),
    _row("two specs applied at once", _two_specs, class_sample=True),
)
