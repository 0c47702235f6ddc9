"""Faults that keep a builder from starting, or that end it from inside."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.faults.bench import PROMISED, Bench, Client
from tests.faults.fault import Fault, Seen, Strikes, outcome, told

_NAME = "broken"
Prepare = Callable[[Bench], tuple[str, ...]]
Undo = Callable[[Bench], object]


def _create(prepare: Prepare, words: tuple[str, ...], *, within: float = PROMISED, undo: Undo | None = None) -> Callable[[Bench], Seen]:
    """Make a builder with the flags of `prepare` and wait for its pods."""

    def scenario(bench: Bench) -> Seen:
        flags = prepare(bench)
        began = time.monotonic()
        try:
            # How long to wait for a node that may come is the user's choice; what is waited for must be told at once.
            waiting = bench.with_environment(KUBECTL_BUILD_DEADLINES="ready=20s")
            client = waiting.start("create", _NAME, "--platform=linux/amd64", "--bootstrap", *flags, program="kubectl-buildkit")
            client.says(words[0], within + 30)
            seconds = time.monotonic() - began
            code = client.ends(60)
        finally:
            if undo:
                undo(bench)
            bench.remove(_NAME)
        missing = [word for word in words if word.lower() not in client.stderr.lower()]
        assert code == 4, f"exit code {code}, not 4\n{client.stderr}"
        assert not missing, f"stderr does not say {missing}\n{client.stderr}"
        assert seconds <= within, f'"{words[0]}" was told after {seconds:.1f} s\n{client.stderr}'
        return Seen(outcome=outcome(code), seconds=seconds, told=told(client.stderr, words))

    return scenario


def _flags(*flags: str) -> Prepare:
    return lambda bench: tuple(flag.replace("REGISTRY", bench.namespace.cluster.insecure_registry) for flag in flags)


def _quota(bench: Bench) -> tuple[str, ...]:
    bench.kubectl("create", "quota", "tight", "--hard=pods=1").ok()
    return ()


def _restricted(bench: Bench) -> tuple[str, ...]:
    bench.kubectl("label", "namespace", bench.namespace.name, "pod-security.kubernetes.io/enforce=restricted").ok()
    return ("--security=privileged",)


def _without_quota(bench: Bench) -> None:
    bench.kubectl("delete", "quota", "tight").ok()


def _unrestricted(bench: Bench) -> None:
    bench.kubectl("label", "namespace", bench.namespace.name, "pod-security.kubernetes.io/enforce-").ok()


def _init(bench: Bench) -> tuple[str, ...]:
    container = {"name": "first", "image": "docker.io/library/busybox", "command": ["sh", "-c", "echo no key found; exit 3"]}
    template = bench.directory / "template.yaml"
    template.write_text(json.dumps({"spec": {"initContainers": [container]}}))
    return (f"--pod-template={template}",)


def _small(bench: Bench) -> Client:
    return bench.build(bench.tree(f"FROM scratch\nCOPY Dockerfile /{bench.namespace.names()}\n"), builder=_NAME)


def _inside(
    dockerfile: str, create: tuple[str, ...], code: int, words: tuple[str, ...], heal: Callable[[Bench], object] | None = None
) -> Callable[[Bench], Seen]:
    """Build on a builder of its own what is too much for it; then, after the command that was hinted at (`heal`), something small."""

    def scenario(bench: Bench) -> Seen:
        with bench.builder(_NAME, "--bootstrap", *create):
            began = time.monotonic()
            client = bench.build(bench.tree(dockerfile), "--retries=1", builder=_NAME)
            client.says(words[0], 60)
            seconds = time.monotonic() - began
            ended = client.ends(120)
            assert ended == code, f"exit code {ended}, not {code}\n{client.stderr}"
            missing = [word for word in words if word.lower() not in client.stderr.lower()]
            assert not missing, f"stderr does not say {missing}\n{client.stderr}"
            bench.ready(f"{_NAME}-amd64-0")
            if heal:
                heal(bench)
            after = _small(bench)
            assert after.ends(90) == 0, after.stderr
        return Seen(outcome=outcome(ended), seconds=seconds, told=told(client.stderr, words))

    return scenario


@contextmanager
def _secret(bench: Bench, name: str, password: str) -> Iterator[None]:
    cluster = bench.namespace.cluster
    bench.namespace.secret(name, password=password)
    try:
        yield
    finally:
        bench.kubectl("delete", "secret", name, "--ignore-not-found").ok()
    assert cluster.password not in json.dumps(_events(bench)), "a password is in an event"


def _events(bench: Bench) -> Any:
    return bench.kubectl("get", "events", "-o", "json").json()


def _secret_changes(change: Callable[[Bench], object], pushed: bool) -> Callable[[Bench], Seen]:
    """The registry's secret changes while a step runs; the build goes on with what it read, as the daemon asks when it pushes."""

    def scenario(bench: Bench) -> Seen:
        cluster = bench.namespace.cluster
        with _secret(bench, "login", cluster.password):
            image = f"{cluster.registry}/{bench.namespace.repository('secret')}:v1"
            client = bench.build(bench.step(4), "-t", image, "--push", "--registry-secret=login")
            client.says(" begun", 60)
            change(bench)
            began = time.monotonic()
            code = client.ends(90)
        assert (code == 0) is pushed, f"exit code {code}\n{client.stderr}"
        assert cluster.password not in client.stderr
        return Seen(outcome=outcome(code), seconds=time.monotonic() - began, told=told(client.stderr, ()))

    return scenario


def _deleted(bench: Bench) -> None:
    bench.kubectl("delete", "secret", "login").ok()


def _rotated(bench: Bench) -> None:
    _deleted(bench)
    bench.namespace.secret("login", password="another")


def _pruned(bench: Bench) -> None:
    """By itself the daemon gives back what the failed step took a minute after the build (control.go: throttledGC)."""
    bench.kubectl("buildkit", "prune", "--all", "--force", f"--builder={_NAME}", timeout=60).ok()


_OOM = "FROM busybox\nRUN --mount=type=tmpfs,target=/t dd if=/dev/zero of=/t/x bs=1M count=600\n"
_FULL = "FROM busybox\nRUN dd if=/dev/zero of=/x bs=1M count=400\n"


def _row(name: str, scenario: Callable[[Bench], Seen], *, class_sample: bool = False) -> Fault:
    return Fault(name=name, group="builder", strikes=Strikes.OTHERWISE, scenario=scenario, class_sample=class_sample)


FAULTS = (
    _row("image cannot be pulled", _create(_flags("--image=REGISTRY/no/such/buildkit:v1"), ("error:", "no/such/buildkit:v1", "pull"))),
    _row("no node for the pod", _create(_flags("--requests=cpu=1000"), ("insufficient cpu", "error:"))),
    _row("quota exceeded", _create(_quota, ("error:", "quota"), undo=_without_quota)),
    _row("Pod Security refuses the pod", _create(_restricted, ("error:", "label"), undo=_unrestricted), class_sample=True),
    _row("init container fails", _create(_init, ("ended with exit code 3", "error:", "first"))),
    _row("pod out of memory", _inside(_OOM, ("--limits=memory=256Mi",), 5, ("OOMKilled",))),
    _row(
        "disk full in the builder",
        _inside(_FULL, ("--cache=memory,size=200Mi",), 1, ("no space left on device", "prune --all"), heal=_pruned),
    ),
    _row("registry secret deleted during the build", _secret_changes(_deleted, pushed=True)),
    _row("registry secret rotated during the build", _secret_changes(_rotated, pushed=True)),
)
