"""Faults of the builder's pod and daemon."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.faults.bench import POD, PROMISED, Bench, Client
from tests.faults.fault import AGAIN, SILENT, Fault, Seen, Strikes, outcome, told

_THIRD = "trying again (3 of 3)"
_BEGUN = re.compile(r"^#\d+ [\d.]+ begun$", re.MULTILINE)
"""The step's own word, which its command has too."""
Inject = Callable[[Bench, Client | None], AbstractContextManager[object]]


@contextmanager
def killed(bench: Bench, _: Client | None) -> Iterator[None]:
    """The pod is deleted without any grace."""
    bench.kubectl("delete", "pod", POD, "--wait=false", "--grace-period=0", "--force").ok()
    yield


@contextmanager
def deleted(bench: Bench, _: Client | None) -> Iterator[None]:
    """The pod is deleted as people do."""
    bench.kubectl("delete", "pod", POD, "--wait=false").ok()
    yield


@contextmanager
def evicted(bench: Bench, _: Client | None) -> Iterator[None]:
    """The pod is evicted as `kubectl drain` does."""
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": POD, "namespace": bench.namespace.name}}
    path = f"/api/v1/namespaces/{bench.namespace.name}/pods/{POD}/eviction"
    bench.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body)).ok()
    yield


@contextmanager
def daemon_killed(bench: Bench, _: Client | None) -> Iterator[None]:
    """SIGKILL of buildkitd; its container starts again."""
    os.kill(bench.daemon(), signal.SIGKILL)
    yield
    _forget_kills(bench)


def _forget_kills(bench: Bench) -> None:
    """Have a new pod: the kubelet lets a container that has ended often wait longer each time, which is no other row's business."""
    bench.kubectl("delete", "pod", POD, "--wait=false", "--grace-period=0", "--force").ok()


@contextmanager
def daemon_frozen(bench: Bench, _: Client | None) -> Iterator[None]:
    """SIGSTOP of buildkitd, until the fault has been told."""
    daemon = bench.daemon()
    os.kill(daemon, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(daemon, signal.SIGCONT)


@contextmanager
def stream_ended(bench: Bench, _: Client | None) -> Iterator[None]:
    """The program at the pod's end of the stream is killed."""
    os.kill(bench.process("buildctl", "dial-stdio"), signal.SIGKILL)
    yield


def _killed_twice(bench: Bench) -> Seen:
    """The second time the kubelet lets the container wait for ten seconds before it starts it: that is no builder that cannot start."""
    client = bench.build(bench.step(5))
    _killed_in_step(bench, client, 1)
    seconds = _killed_in_step(bench, client, 2)
    code = client.ends(150)
    assert code == 0, f"exit code {code}\n{client.stderr}"
    _forget_kills(bench)
    return Seen(outcome=outcome(code), seconds=seconds, told=told(client.stderr, (_THIRD,)))


def _killed_in_step(bench: Bench, client: Client, number: int) -> float:
    """Kill the daemon when the step runs for the `number`th time; returns the seconds until that is told."""
    client.reaches(f"its step, time {number}", lambda: len(_BEGUN.findall(client.stderr)) >= number)
    began = time.monotonic()
    os.kill(bench.daemon(), signal.SIGKILL)
    client.says(AGAIN if number == 1 else _THIRD, PROMISED)
    return time.monotonic() - began


FAULTS = (
    Fault(name="pod killed", group="pod", inject=killed, words=(AGAIN, "it was deleted")),
    Fault(
        name="pod killed, --retries=0",
        group="pod",
        inject=killed,
        flags=("--retries=0",),
        sleep=60,
        code=5,
        words=(f"error: pod {POD} of the builder was lost during the build: it was deleted",),
        class_sample=True,
    ),
    Fault(name="pod deleted", group="pod", inject=deleted, sleep=8),
    Fault(name="pod evicted through the API", group="pod", inject=evicted, sleep=8),
    Fault(name="buildkitd killed", group="pod", inject=daemon_killed, words=(AGAIN,)),
    Fault(name="buildkitd killed twice", group="pod", scenario=_killed_twice),
    Fault(name="buildkitd killed as layers are pushed", group="pod", strikes=Strikes.PUSH, inject=daemon_killed, words=(AGAIN,)),
    Fault(
        name="buildkitd frozen",
        group="pod",
        inject=daemon_frozen,
        sleep=6,
        words=(SILENT, AGAIN),
        until_told=True,
    ),
    Fault(name="exec's program in the pod killed", group="pod", inject=stream_ended, sleep=6, words=(AGAIN,)),
)
