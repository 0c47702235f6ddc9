"""Faults of a node: its kubelet or its containerd ends, on a node that is started for the row."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.cluster import layout, processes
from tests.cluster.spare import Spare, open_spare
from tests.faults.bench import PROMISED, Bench, Client, until
from tests.faults.fault import AGAIN, SILENT, Fault, Seen, Strikes, outcome, told

_NAME = "noded"
_POD = f"{_NAME}-amd64-0"
_HERE = (f"--node-selector=kubernetes.io/hostname={layout.SPARE.name}", f"--tolerations={layout.SPARE.taint}", "--bootstrap")
_Break = Callable[[Spare], AbstractContextManager[object]]


@contextmanager
def kubelet_stopped(spare: Spare) -> Iterator[None]:
    """The kubelet ends; pods run on."""
    spare.stop(spare.kubelet)
    try:
        yield
    finally:
        spare.start(spare.kubelet)


@contextmanager
def kubelet_frozen(spare: Spare) -> Iterator[None]:
    """The kubelet is there and does nothing; its connections stay open."""
    record = processes.record_of(spare.kubelet.name)
    assert record is not None
    os.kill(record.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(record.pid, signal.SIGCONT)


@contextmanager
def containerd_restarted(spare: Spare) -> Iterator[None]:
    """Containers run on below their shims; containerd carries the streams of exec."""
    spare.stop(spare.containerd)
    spare.start(spare.containerd)
    yield


def _scenario(breaks: _Break, words: tuple[str, ...], *, code: int, until_told: bool, sleep: float) -> Callable[[Bench], Seen]:
    """Break the node while a step runs in a pod on it, until the first words were told (`until_told`) or the build has ended."""

    def scenario(bench: Bench) -> Seen:
        with open_spare() as spare, bench.builder(_NAME, *_HERE):
            client = bench.build(bench.step(sleep), builder=_NAME)
            client.says(" begun", 60)
            uid = bench.pod(_POD)["metadata"]["uid"]
            began = time.monotonic()
            with breaks(spare):
                client.says(words[0], PROMISED + 30)
                seconds = time.monotonic() - began
                ended = None if until_told else client.ends(120)
            if ended is None:
                ended = client.ends(120)
            _looks_right(client, ended, code, words)
            assert seconds <= PROMISED, f'"{words[0]}" was told after {seconds:.1f} s\n{client.stderr}'
            _heals(bench, spare)
            assert bench.pod(_POD)["metadata"]["uid"] == uid, "the pod is another one"
        return Seen(outcome=outcome(ended), seconds=seconds, told=told(client.stderr, words[-1:] if code else words))

    return scenario


def _other_pod(bench: Bench) -> Seen:
    """Of two pods on two nodes the one that builds is lost; the build goes on in the other while the kubelet is away."""
    spread = (f"--tolerations={layout.SPARE.taint}", "--spread=kubernetes.io/hostname:hard", "--replicas=2", "--bootstrap")
    with open_spare() as spare, bench.builder(_NAME, *spread):
        pods = [f"{_NAME}-amd64-{number}" for number in range(2)]
        lost = next(pod for pod in pods if bench.pod(pod)["spec"]["nodeName"] == layout.SPARE.name)
        (healthy,) = set(pods) - {lost}
        client = _build_in(bench, lost)
        began = time.monotonic()
        with kubelet_stopped(spare):
            client.says(AGAIN, PROMISED + 30)
            seconds = time.monotonic() - began
            code = client.ends(120)
            completed = [record for record in bench.namespace.history(healthy) if record.get("CompletedAt")]
        _looks_right(client, code, 0, (AGAIN,))
        assert completed, f"pod {healthy} has built nothing\n{client.stderr}"
        assert seconds <= PROMISED, f'"{AGAIN}" was told after {seconds:.1f} s\n{client.stderr}'
    return Seen(outcome=outcome(code), seconds=seconds, told=told(client.stderr, (AGAIN,)))


def _build_in(bench: Bench, pod: str) -> Client:
    """Start a build that a pod takes: which one takes a context depends on its key."""
    for number in range(20):
        client = bench.build(bench.step(8), f"--context-key={number}", builder=_NAME)
        client.says(" begun", 60)
        if bench.active(pod):
            return client
        client.process.send_signal(signal.SIGINT)
        client.ends(PROMISED)
    raise AssertionError(f"no context goes to pod {pod}")


def _deleted_on_lost_node(bench: Bench) -> Seen:
    """The pod is deleted while nobody on its node can end it, so that its set makes no other."""
    with open_spare() as spare, bench.builder(_NAME, *_HERE):
        with kubelet_stopped(spare):
            bench.kubectl("delete", "pod", _POD, "--wait=false").ok()
            began = time.monotonic()
            # How long to wait is the user's choice; what is waited for must be told at once.
            client = bench.with_environment(KUBECTL_BUILD_DEADLINES="ready=20s").build(bench.step(0), builder=_NAME)
            client.says(f"pod {_POD}", PROMISED + 30)
            seconds = time.monotonic() - began
            code = client.ends(60)
        words = ("error:", layout.SPARE.name)
        _looks_right(client, code, 4, words)
        assert seconds <= PROMISED, f"the pod was told after {seconds:.1f} s\n{client.stderr}"
        _heals(bench, spare)
    return Seen(outcome=outcome(code), seconds=seconds, told=told(client.stderr, words))


def _looks_right(client: Client, ended: int, code: int, words: tuple[str, ...]) -> None:
    assert ended == code, f"exit code {ended}, not {code}\n{client.stderr}"
    missing = [word for word in words if word.lower() not in client.stderr.lower()]
    assert not missing, f"stderr does not say {missing}\n{client.stderr}"
    assert not (left := client.left()), f"left behind: {left}"


def _heals(bench: Bench, spare: Spare) -> None:
    """The builder is used again, nothing runs on in it, and no Lease is left of it."""
    until("a node that is Ready", spare.ready, 60)
    bench.ready(_POD)
    # A kubelet that has just started does not know its pods yet.
    until("an answer from the pod", lambda: bench.kubectl("exec", _POD, "-c", "buildkitd", "--", "true").code == 0, PROMISED)
    until("the end of the daemon's builds", lambda: not bench.active(_POD), PROMISED)
    left = [name for name in bench.leases() if name.startswith(_POD)]
    assert not left, f"left behind: Leases {left}"
    again = bench.build(bench.tree(f"FROM scratch\nCOPY Dockerfile /{bench.namespace.names()}\n"), builder=_NAME)
    assert again.ends(90) == 0, f"the builder does not build afterwards:\n{again.stderr}"


def _row(
    name: str,
    breaks: _Break,
    words: tuple[str, ...],
    *,
    code: int = 0,
    until_told: bool = False,
    sleep: float = 8,
    class_sample: bool = False,
) -> Fault:
    scenario = _scenario(breaks, words, code=code, until_told=until_told, sleep=sleep)
    return Fault(name=name, group="node", strikes=Strikes.STEP, scenario=scenario, class_sample=class_sample)


FAULTS = (
    _row("node's kubelet stopped, and started again", kubelet_stopped, (AGAIN,), until_told=True),
    _row("node's kubelet stopped, and not started", kubelet_stopped, (AGAIN, "error:"), code=5, sleep=60),
    Fault(name="node's kubelet stopped, another pod ready", group="node", strikes=Strikes.STEP, scenario=_other_pod),
    Fault(name="pod deleted on a node without kubelet", group="node", strikes=Strikes.BEFORE, scenario=_deleted_on_lost_node),
    _row("node's kubelet frozen", kubelet_frozen, (SILENT, AGAIN), until_told=True),
    _row("node's containerd restarted", containerd_restarted, (AGAIN,), sleep=3, class_sample=True),
)
