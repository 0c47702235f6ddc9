"""Builds whose pod, daemon, stream, client or time ends in the middle: what is told, what comes of the build, what is left."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.environment import needs_own_processes
from tests.e2e.kubectl import Namespace
from tests.e2e.registry import Registry

SECONDS = 15.0
"""What the product promises: by then a fault is told or survived, and nothing runs on."""

POD = "buildkit-amd64-0"
KARPENTER = "karpenter.sh/do-not-disrupt"
AUTOSCALER = "cluster-autoscaler.kubernetes.io/safe-to-evict"


def until(what: str, condition: Callable[[], object], seconds: float) -> None:
    """Wait for `condition`, which is asked again and again."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come in {seconds:.0f} s"
        select.select([], [], [], 0.2)


@dataclass
class Client:
    """A `kubectl build` under way, whose stderr can be read meanwhile."""

    process: subprocess.Popen[bytes]
    log: Path
    began: float = field(default_factory=time.monotonic)

    @property
    def stderr(self) -> str:
        return self.log.read_text(errors="replace")

    def says(self, words: str, seconds: float = 60) -> None:
        """Wait until stderr has `words`."""

        def said() -> bool:
            assert words in self.stderr or self.process.poll() is None, self.stderr
            return words in self.stderr

        until(f'"{words}"', said, seconds)

    def ends(self, code: int, seconds: float = 100) -> str:
        """Wait for the end and return stderr."""
        try:
            assert self.process.wait(seconds) == code, self.stderr
        except subprocess.TimeoutExpired:
            pytest.fail(f"the build did not end in {seconds:.0f} s\n{self.stderr}")
        assert "Traceback" not in self.stderr, self.stderr
        return self.stderr


@dataclass(frozen=True)
class Bench:
    """A namespace whose builder runs in one pool; every build has a step of its own that takes `sleep` seconds."""

    namespace: Namespace
    registry: Registry
    directory: Path

    def start(self, *flags: str, sleep: float, tag: str = "", key: str = "") -> Client:
        """Start a build; builds with one `key` have the same steps."""
        tree = self.directory / f"tree-{sleep}"
        tree.mkdir(exist_ok=True)
        once = key or self.namespace.names()
        step = f"RUN : {once} && echo begun && sleep {sleep} && echo {sleep} > /done"
        (tree / "Dockerfile").write_text(f"FROM busybox AS work\n{step}\nFROM scratch\nCOPY --from=work /done /\n")
        output = f"type=registry,name={self.namespace.cluster.registry}/{tag},rewrite-timestamp=true"
        pushing = ("-o", output, "--build-arg=SOURCE_DATE_EPOCH=0", "--registry-secret=my-secret") if tag else ()
        log = self.directory / f"log-{self.namespace.names()}"
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                ["kubectl-build", str(tree), "--progress=plain", "--platform=linux/amd64", *pushing, *flags],
                env=self.namespace.kubectl.variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
        return Client(process, log)

    def running(self, *flags: str, sleep: float, tag: str = "", key: str = "") -> Client:
        """Start a build, and wait until its step runs."""
        client = self.start(*flags, sleep=sleep, tag=tag, key=key)
        client.says(" begun")
        return client

    def digest(self, tag: str) -> str:
        """The digest that the registry has under `tag`."""
        repository, _, name = tag.rpartition(":")
        return self.registry.manifest(repository, name).digest

    def active(self) -> list[str]:
        """The builds that the daemon runs."""
        return [str(record["Ref"]) for record in self.namespace.history(POD) if not record.get("CompletedAt")]

    def nothing_runs(self) -> None:
        until("the end of the daemon's builds", lambda: not self.active(), SECONDS)

    def annotations(self) -> dict[str, str]:
        pod: dict[str, Any] = self.namespace.kubectl("get", "pod", POD, "-o", "json").json()
        found: dict[str, str] = pod["metadata"]["annotations"]
        return found

    def delete_pod(self, *flags: str) -> None:
        self.namespace.kubectl("delete", "pod", POD, "--wait=false", *flags).ok()


@pytest.fixture(scope="module")
def made(namespace: Namespace) -> Namespace:
    namespace.kubectl("buildkit", "create", "--platform=linux/amd64", "--bootstrap").ok()
    return namespace


@pytest.fixture
def bench(made: Namespace, registry: Registry, tmp_path: Path) -> Bench:
    return Bench(made, registry, tmp_path)


def test_links_pod_that_is_killed_is_replaced_and_the_build_begun_again(bench: Bench) -> None:
    undisturbed, disturbed = f"{bench.namespace.repository('calm')}:v1", f"{bench.namespace.repository('killed')}:v1"
    bench.start(sleep=5, tag=undisturbed, key="same").ends(0)

    client = bench.running("--no-cache", sleep=5, tag=disturbed, key="same")
    bench.delete_pod("--grace-period=0", "--force")
    client.says("trying again (2 of 3)", SECONDS)
    said = client.ends(0)

    assert f"pod {POD} of the builder was lost during the build: it was deleted; trying again (2 of 3)" in said
    assert bench.digest(disturbed) == bench.digest(undisturbed)


def test_links_pod_that_is_killed_without_retries_ends_the_build_with_the_reason(bench: Bench) -> None:
    client = bench.running("--retries=0", sleep=60)
    bench.delete_pod("--grace-period=0", "--force")

    said = client.ends(5, SECONDS)

    assert f"error: pod {POD} of the builder was lost during the build: it was deleted" in said
    assert "trying again" not in said


def test_links_pod_that_is_deleted_finishes_its_build_first(bench: Bench) -> None:
    bench.namespace.kubectl("wait", f"pod/{POD}", "--for=condition=Ready", "--timeout=60s").ok()
    tag = f"{bench.namespace.repository('drained')}:v1"
    client = bench.running(sleep=12, tag=tag)
    bench.delete_pod()

    said = client.ends(0)

    assert "trying again" not in said
    assert bench.digest(tag) in said


def test_links_stream_that_is_cut_is_replaced_and_the_build_begun_again(bench: Bench) -> None:
    client = bench.running(sleep=8)
    os.kill(process_of(bench, "buildctl", "dial-stdio"), signal.SIGKILL)

    client.says("trying again (2 of 3)", SECONDS)
    client.ends(0)


def test_links_daemon_that_freezes_is_told_in_time_and_met_again(bench: Bench) -> None:
    client = bench.running(sleep=5)
    with frozen(process_of(bench, "buildkitd")):
        client.says("trying again (2 of 3)", SECONDS + 8)

    said = client.ends(0)

    assert "has not asked for this client's health for 12 s" in said


@needs_own_processes
def test_links_client_that_is_ended_while_the_daemon_is_frozen_leaves_in_time(bench: Bench) -> None:
    client = bench.running(sleep=90)
    with frozen(process_of(bench, "buildkitd")):
        client.process.send_signal(signal.SIGINT)
        client.ends(130, SECONDS)
    bench.nothing_runs()


@needs_own_processes
def test_links_build_over_its_timeout_is_stopped_and_says_what_it_did(bench: Bench) -> None:
    client = bench.running("--timeout=20s", sleep=90)

    said = client.ends(124, 20 + SECONDS)

    assert re.search(r'^error: not done within --timeout 20 s: the build was at "\[work 2/2\] RUN .* sleep 90', said, re.MULTILINE), said
    bench.nothing_runs()


def test_links_builder_that_is_not_ready_in_time_is_told_and_removed(
    make_namespace: Callable[[str], Namespace], context: Callable[..., Path]
) -> None:
    namespace = make_namespace("late")
    values = {"schedulerName": "nobody"}
    metadata = {"name": "kubectl-build-defaults"}
    namespace.kubectl.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"builder.yaml": json.dumps(values)}})

    result = namespace.kubectl("build", context({"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}), "--timeout=6s")

    result.failed(124, "not done within --timeout 6 s: the build was waiting for builder buildkit")
    until("the builder's end", lambda: namespace.objects() == set(), SECONDS)


@needs_own_processes
def test_links_pod_is_kept_from_autoscalers_while_it_builds(bench: Bench) -> None:
    client = bench.running(sleep=8)
    until("the annotations", lambda: {KARPENTER, AUTOSCALER} <= bench.annotations().keys(), SECONDS)
    assert bench.annotations()[KARPENTER] == "true"
    assert bench.annotations()[AUTOSCALER] == "false"

    client.ends(0)

    assert not {KARPENTER, AUTOSCALER} & bench.annotations().keys()


@needs_own_processes
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)])
def test_links_client_that_is_ended_leaves_nothing_running(bench: Bench, number: signal.Signals, code: int) -> None:
    client = bench.running(sleep=90)

    client.process.send_signal(number)

    client.ends(code, SECONDS)
    bench.nothing_runs()


def process_of(bench: Bench, *command: str) -> int:
    """A process of the pod whose command line begins with `command`, by its number on this machine, which is the cluster's node too."""
    uid = bench.namespace.kubectl("get", "pod", POD, "-o", "jsonpath={.metadata.uid}").ok().stdout
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words, group = (entry / "cmdline").read_text().split("\0"), (entry / "cgroup").read_text()
        except OSError:
            continue
        if uid.replace("-", "_") in group.replace("-", "_") and [Path(words[0]).name, *words[1:]][: len(command)] == list(command):
            return int(entry.name)
    pytest.fail(f"no {' '.join(command)} in pod {uid}")


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a process while the body runs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
