"""Faults of the builder's pod and daemon."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.faults.bench import POD, Bench, Client
from tests.faults.fault import AGAIN, SILENT, Fault, Strikes

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
