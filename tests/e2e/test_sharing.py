"""Builders that several people share: who builds, who waits for whom, stop and start, idle timeouts, and the preferred builder."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kubectl import MANAGED, Kubectl, Namespace, Running

AMD64 = "--platform=linux/amd64"
QUICK = "FROM busybox\nRUN true\n"

Context = Callable[..., Path]


def leases(namespace: Namespace) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = namespace.kubectl("get", "leases", "-l", MANAGED, "-o", "json").json()["items"]
    return found


def until(condition: Callable[[], bool], what: str, *, seconds: float = 60) -> None:
    """Look again and again: what is waited for is in the cluster."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.2)


def slow(context: Context, name: str, *, seconds: int = 15) -> Path:
    """A context whose build takes `seconds`, and is never cached."""
    return context({"Dockerfile": f"FROM busybox\nRUN sleep {seconds} && echo {name} {time.time_ns()}\n"}, name)


def building(namespace: Namespace, kubectl: Kubectl, directory: Path, *flags: str, count: int = 1) -> Running:
    """Start a build, and return when its Lease can be seen and its step runs."""
    running = kubectl.start("build", directory, AMD64, "--progress=plain", *flags)
    until(lambda: len(leases(namespace)) >= count, "a Lease of the build")
    return running


def killed(running: Running) -> None:
    os.killpg(running.process.pid, signal.SIGKILL)
    running.process.communicate()


def status(namespace: Namespace, builder: str) -> str:
    (found,) = [b for b in namespace.kubectl("buildkit", "ls", "-o", "json").json()["builders"] if b["name"] == builder]
    return str(found["status"])


def replicas(namespace: Namespace, stateful_set: str) -> int:
    return int(namespace.kubectl("get", "statefulset", stateful_set, "-o", "jsonpath={.spec.replicas}").ok().stdout)


@pytest.fixture(scope="module")
def builder(namespace: Namespace) -> str:
    """The builder that builds use by themselves, running."""
    namespace.kubectl("buildkit", "create", AMD64, "--bootstrap").ok()
    return "buildkit"


@pytest.fixture
def temporary(namespace: Namespace) -> Iterator[Callable[..., str]]:
    """Make a builder with the flags given, and remove it in the end."""
    made: list[str] = []

    def make(name: str, *flags: str) -> str:
        made.append(name)
        namespace.kubectl("buildkit", "create", name, AMD64, "--bootstrap", *flags).ok()
        return name

    yield make
    namespace.kubectl("buildkit", "rm", "--ignore-not-found", "--force", *made).ok()


@pytest.fixture
def configuration(tmp_path: Path) -> dict[str, str]:
    """An empty configuration directory."""
    return {"XDG_CONFIG_HOME": str(tmp_path / "config")}


# Leases


def test_lease_tells_who_builds_what_and_is_gone_after_the_build(namespace: Namespace, builder: str, context: Context) -> None:
    running = building(namespace, namespace.kubectl.with_env(LOGNAME="ann"), slow(context, "shop", seconds=12))
    (lease,) = leases(namespace)
    pod = namespace.kubectl("get", "pod", f"{builder}-amd64-0", "-o", "json").json()["metadata"]
    assert lease["spec"]["holderIdentity"].startswith("ann@")
    (owner,) = lease["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Pod", pod["name"], pod["uid"])
    told = lease["metadata"]["annotations"]
    assert (told["kubectl-build/pod"], told["kubectl-build/build-platforms"]) == (pod["name"], "linux/amd64")
    assert told["kubectl-build/context"] == "shop"
    assert "    builds for ann@" in namespace.kubectl("buildkit", "inspect").ok().stdout
    (shown,) = namespace.kubectl("buildkit", "inspect", "-o", "json").json()["pools"][0]["pods"]
    assert [(build["platforms"], build["context"]) for build in shown["builds"]] == [("linux/amd64", "shop")]
    running.wait(60).ok()
    assert leases(namespace) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_lease_of_an_interrupted_build_is_gone(namespace: Namespace, builder: str, context: Context, number: signal.Signals) -> None:
    running = building(namespace, namespace.kubectl, slow(context, "shop", seconds=60))
    os.killpg(running.process.pid, number)
    running.wait(20)
    assert leases(namespace) == []


def test_lease_of_a_failed_build_is_gone(namespace: Namespace, builder: str, context: Context) -> None:
    failing = context({"Dockerfile": f"FROM busybox\nRUN sleep 1 && echo {time.time_ns()} && false\n"})
    namespace.kubectl("build", failing, AMD64).failed(1)
    assert leases(namespace) == []


def test_lease_of_a_killed_client_is_deleted_by_a_later_build(namespace: Namespace, builder: str, context: Context) -> None:
    running = building(namespace, namespace.kubectl, slow(context, "shop", seconds=60))
    killed(running)
    quick = context({"Dockerfile": QUICK}, "quick")
    namespace.kubectl("build", quick, AMD64).ok()
    (left,) = [lease["metadata"]["name"] for lease in leases(namespace)]
    # As if its minute were over: a second, and what the clocks of API servers may be apart.
    namespace.kubectl("patch", "lease", left, "--type=merge", "-p", '{"spec":{"leaseDurationSeconds":1}}').ok()

    def gone() -> bool:
        namespace.kubectl("build", quick, AMD64).ok()
        return leases(namespace) == []

    until(gone, "the Lease of the killed client is deleted")


# rm and stop beside builds


def test_rm_during_two_builds_says_who_builds_then_waits_for_them(
    namespace: Namespace, context: Context, temporary: Callable[..., str]
) -> None:
    name = temporary("shared")
    users = [namespace.kubectl.with_env(LOGNAME=user) for user in ("ann", "bob")]
    builds = [
        building(namespace, kubectl, slow(context, f"of-{number}"), f"--builder={name}", count=number + 1)
        for number, kubectl in enumerate(users)
    ]
    refused = namespace.kubectl("buildkit", "rm", name, "--timeout=0").failed(4, '"shared" was not removed', "ann@", "bob@", "--force")
    assert "shared-amd64-0" in refused.stderr, str(refused)
    removed = namespace.kubectl("buildkit", "rm", name, "--timeout=2m").ok()
    assert "ann@" in removed.stderr, str(removed)
    assert removed.stdout == 'builder "shared" removed\n'
    for build in builds:
        build.wait(5).ok()
    assert not [item for item in namespace.objects() if "/shared" in item]


def test_rm_force_ends_the_build_and_says_whose_it_was(namespace: Namespace, context: Context, temporary: Callable[..., str]) -> None:
    name = temporary("forced")
    flags = (f"--builder={name}", "--retries=0")
    build = building(namespace, namespace.kubectl.with_env(LOGNAME="ann"), slow(context, "x", seconds=90), *flags)
    result = namespace.kubectl("buildkit", "rm", name, "--force").ok()
    assert "ann@" in result.stderr, str(result)
    # A pod that may finish its builds has more than a minute.
    assert result.seconds < 45
    build.wait(20).failed(5, "forced-amd64-0")
    until(lambda: not [item for item in namespace.objects() if "/forced" in item], "nothing is left")


def test_stop_waits_for_the_build_says_that_the_cache_goes_and_the_next_build_starts_it(
    namespace: Namespace, context: Context, temporary: Callable[..., str]
) -> None:
    name = temporary("resting")
    build = building(namespace, namespace.kubectl, slow(context, "x", seconds=8), f"--builder={name}")
    stopped = namespace.kubectl("buildkit", "stop", name).ok()
    build.wait(5).ok()
    assert stopped.stdout == 'builder "resting" stopped: the next build starts it\n'
    assert "cache" in stopped.stderr.splitlines()[0], str(stopped)
    assert "when its builds have ended" in stopped.stderr, str(stopped)
    assert namespace.kubectl("get", "pods", "-l", f"app.kubernetes.io/instance={name}", "-o", "name").ok().stdout == ""
    assert status(namespace, name) == "stopped"
    assert "does not run" in namespace.kubectl("buildkit", "stop", name).ok().stdout
    namespace.kubectl("build", context({"Dockerfile": QUICK}), AMD64, f"--builder={name}").ok()
    assert status(namespace, name) == "running"


def test_stop_of_an_unknown_builder_says_so(namespace: Namespace) -> None:
    namespace.kubectl("buildkit", "stop", "nobody").failed(4, '"nobody"')


# Idle timeouts


def test_gc_stops_what_is_idle_and_nothing_that_builds(namespace: Namespace, context: Context, temporary: Callable[..., str]) -> None:
    name = temporary("idle", "--idle-timeout=1s")
    labels = {"app.kubernetes.io/name": "buildkit", "app.kubernetes.io/instance": "other", "app.kubernetes.io/managed-by": "kubectl-build"}
    spec = {"holderIdentity": "gone@desk", "leaseDurationSeconds": 10}
    orphan = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "orphan", "labels": labels}, "spec": spec}
    namespace.kubectl.apply(orphan)
    build = building(namespace, namespace.kubectl, slow(context, "x", seconds=6), f"--builder={name}", count=2)
    assert namespace.kubectl("buildkit", "gc").ok().stdout == ""
    assert replicas(namespace, "idle-amd64") == 1
    build.wait(60).ok()
    said: list[str] = []

    def collected(text: str) -> bool:
        said.append(namespace.kubectl("buildkit", "gc").ok().stdout)
        return any(text in output for output in said)

    until(lambda: collected('pool amd64 of builder "idle"'), "gc stops what is idle")
    assert replicas(namespace, "idle-amd64") == 0
    until(lambda: collected('Lease "orphan"'), "gc deletes the Lease of a client that is gone")
    assert leases(namespace) == []
    namespace.kubectl("build", context({"Dockerfile": QUICK}), AMD64, f"--builder={name}").ok()


def test_build_on_another_builder_stops_what_is_idle(
    namespace: Namespace, builder: str, context: Context, temporary: Callable[..., str]
) -> None:
    temporary("forgotten", "--idle-timeout=1s")
    until(lambda: _outlived(namespace, "forgotten-amd64-0", 2), "the pod is older than the timeout")
    # A build within a minute of another one on its builder leaves this to it.
    namespace.kubectl("annotate", "statefulset", f"{builder}-amd64", "kubectl-build/last-used-").ok()
    result = namespace.kubectl("build", slow(context, "x", seconds=3), AMD64).ok()
    assert 'pool amd64 of builder "forgotten"' in result.stderr, str(result)
    assert replicas(namespace, "forgotten-amd64") == 0
    assert replicas(namespace, f"{builder}-amd64") == 1


def _outlived(namespace: Namespace, pod: str, seconds: int) -> bool:
    script = f"kubectl get pod {pod} -o jsonpath='{{.status.containerStatuses[0].state.running.startedAt}}'"
    return time.time() - float(namespace.kubectl.shell(f'date -d "$({script})" +%s').stdout) > seconds


def test_gc_as_the_account_of_the_cron_job_may_do_all_that_it_needs(namespace: Namespace, temporary: Callable[..., str]) -> None:
    name = temporary("collected", "--idle-timeout=1s")
    namespace.kubectl("apply", "-f", Path(__file__).parents[2] / "manifests" / "gc.yaml").ok()
    token = namespace.kubectl("create", "token", "kubectl-build-gc").ok().stdout.strip()
    namespace.kubectl("config", "set-credentials", "collector", f"--token={token}").ok()
    until(
        lambda: f'builder "{name}"' in namespace.kubectl("buildkit", "gc", "--user=collector").ok().stdout,
        "the account stops what is idle",
    )
    assert replicas(namespace, f"{name}-amd64") == 0
    namespace.kubectl("buildkit", "rm", name, "--user=collector").failed(4, "not allowed")


# use


def test_use_makes_builds_go_to_a_builder_until_it_is_gone(
    namespace: Namespace, builder: str, context: Context, temporary: Callable[..., str], configuration: dict[str, str]
) -> None:
    name = temporary("preferred")
    kubectl = namespace.kubectl.with_env(**configuration)
    said = kubectl("buildkit", "use", name).ok().stdout
    assert str(Path(configuration["XDG_CONFIG_HOME"]) / "kubectl-build" / "builders.json") in said
    directory = context({"Dockerfile": QUICK})
    kubectl("build", directory, AMD64).ok()
    assert len(namespace.history("preferred-amd64-0")) == 1
    kubectl("build", directory, AMD64, f"--builder={builder}").ok()
    kubectl.with_env(BUILDX_BUILDER=builder)("build", directory, AMD64).ok()
    assert len(namespace.history("preferred-amd64-0")) == 1
    kubectl("buildkit", "rm", name).ok()
    result = kubectl("build", directory, AMD64).ok()
    assert '"preferred", which `kubectl buildkit use` prefers' in result.stderr, str(result)


def test_use_of_an_unknown_builder_is_refused_and_nothing_is_written(namespace: Namespace, configuration: dict[str, str]) -> None:
    namespace.kubectl.with_env(**configuration)("buildkit", "use", "nobody").failed(4, '"nobody"')
    assert not Path(configuration["XDG_CONFIG_HOME"]).exists()


def test_use_of_the_default_takes_a_choice_back_even_where_it_is_not_there(
    make_namespace: Callable[[str], Namespace], configuration: dict[str, str]
) -> None:
    kubectl = make_namespace("use").kubectl.with_env(**configuration)
    kubectl("buildkit", "use", "buildkit").ok()
    kubectl("buildkit", "inspect").failed(4, 'there is no builder "buildkit"')


# the choice of a pod


def test_context_key_brings_builds_of_different_contexts_to_one_pod(
    namespace: Namespace, context: Context, temporary: Callable[..., str]
) -> None:
    name = temporary("twins", "--replicas=2")
    namespace.kubectl("wait", "--for=condition=Ready", "pod/twins-amd64-0", "pod/twins-amd64-1", "--timeout=60s").ok()
    for number in range(4):
        directory = context({"Dockerfile": QUICK, f"file{number}": ""}, f"ctx{number}")
        namespace.kubectl("build", directory, AMD64, f"--builder={name}", "--context-key=team/app").ok()
    assert sorted(len(namespace.history(f"twins-amd64-{ordinal}")) for ordinal in range(2)) == [0, 4]


def test_builds_at_once_of_one_context_spread_when_its_pod_has_more_than_its_share(
    namespace: Namespace, context: Context, temporary: Callable[..., str]
) -> None:
    temporary("spread", "--replicas=2")
    namespace.kubectl("wait", "--for=condition=Ready", "pod/spread-amd64-0", "pod/spread-amd64-1", "--timeout=60s").ok()
    flags = ("--builder=spread", "--context-key=team/app")
    builds = [building(namespace, namespace.kubectl, slow(context, f"of-{n}", seconds=25), *flags, count=n + 1) for n in range(4)]
    pods = sorted(lease["metadata"]["annotations"]["kubectl-build/pod"] for lease in leases(namespace))
    assert set(pods) == {"spread-amd64-0", "spread-amd64-1"}
    assert max(map(pods.count, pods)) <= 3
    for build in builds:
        build.wait(90).ok()
    assert leases(namespace) == []
