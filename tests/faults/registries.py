"""Faults of the registry that a build pushes to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.faults.bench import Bench, Client
from tests.faults.fault import Fault, Strikes
from tests.faults.registry import Rule


def answers(rule: Rule) -> Callable[[Bench, Client | None], AbstractContextManager[object]]:
    """The registry follows a rule."""

    @contextmanager
    def inject(bench: Bench, _: Client | None) -> Iterator[None]:
        with bench.registry.broken(rule):
            yield
            assert bench.registry.struck, "nothing asked the registry"

    return inject


def _row(name: str, rule: Rule, *, code: int = 6, words: tuple[str, ...] = (), class_sample: bool = False) -> Fault:
    return Fault(
        name=f"registry: {name}",
        group="registry",
        strikes=Strikes.BEFORE,
        inject=answers(rule),
        code=code,
        words=words,
        within=20,
        sleep=0,
        push=True,
        class_sample=class_sample,
    )


_WRITES = ("POST", "PATCH", "PUT")
FAULTS = (
    _row("401", Rule(status=401, headers=(("WWW-Authenticate", 'Basic realm="test"'),)), words=("error:", "401")),
    _row("403", Rule(status=403), words=("error:", "403"), class_sample=True),
    _row("404", Rule(status=404, methods=_WRITES), words=("error:", "404")),
    _row("429 with Retry-After, twice", Rule(status=429, headers=(("Retry-After", "1"),), times=2), code=0),
    _row("429 always", Rule(status=429, headers=(("Retry-After", "1"),)), words=("error:", "429")),
    _row("500 once", Rule(status=500, methods=_WRITES, times=1), code=0),
    _row("500 always", Rule(status=500), words=("error:", "500")),
    _row("slow, 2 s an answer", Rule(delay=2), code=0),
    _row("connection cut in a blob, once", Rule(cut=True, methods=("PATCH", "PUT"), part="/blobs/", times=1), code=0),
    _row("connection cut in every blob", Rule(cut=True, methods=("PATCH", "PUT"), part="/blobs/"), words=("error:",)),
)
