"""Faults of the registry that a build pushes to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.faults.bench import Bench, Client, until
from tests.faults.fault import AGAIN, Fault, Seen, Strikes, outcome, told
from tests.faults.registry import Rule


def answers(rule: Rule) -> Callable[[Bench, Client | None], AbstractContextManager[object]]:
    """The registry follows a rule."""

    @contextmanager
    def inject(bench: Bench, _: Client | None) -> Iterator[None]:
        with bench.registry.broken(rule):
            yield
            assert bench.registry.struck, "nothing asked the registry"

    return inject


def down(bench: Bench, _: Client | None) -> AbstractContextManager[None]:
    """Nobody listens at the registry's address."""
    return bench.registry.down()


_WIDE = "wide"
_UNSEEN = ("DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN")
"""What distribution 2.8 answers when somebody else writes the same blob to the repository just then."""
_ASKED_S = 4


def _index_refused(bench: Bench) -> Seen:
    """The index of two pools' images is written by the client, which the registry asks to wait."""
    rule = Rule(status=429, headers=(("Retry-After", str(_ASKED_S)),), methods=("PUT",), part="/manifests/v1", times=1)
    name = bench.name("index")
    both = "--platform=linux/amd64,linux/arm64"
    with bench.builder(_WIDE, "--platform=linux/arm64", "--bootstrap"), bench.registry.broken(rule):
        began = time.monotonic()
        client = bench.build(bench.step(0), both, "-t", name, "--push", builder=_WIDE)
        code = client.ends(120)
        puts = [asked for asked in bench.registry.asked if asked.method == "PUT" and rule.part in asked.path]
    assert code == 0, f"exit code {code}\n{client.stderr}"
    assert [asked.broken for asked in puts] == [True, False], puts
    waited = puts[1].moment - puts[0].moment
    assert waited >= _ASKED_S, f"asked again after {waited:.1f} s, not {_ASKED_S} s"
    words = f"waiting {_ASKED_S} s for registry"
    assert words in client.stderr, f'stderr does not say "{words}"\n{client.stderr}'
    repository, _, tag = name.partition("/")[2].rpartition(":")
    assert set(bench.stored.images(repository, tag)) == {"linux/amd64", "linux/arm64"}
    return Seen(outcome=outcome(code), seconds=time.monotonic() - began, told=told(client.stderr, (words,)))


def _index_without_its_pod(bench: Bench) -> Seen:
    """All pods of the builder are killed while the registry takes its time with the index, which the client writes through one of them."""
    rule = Rule(delay=5, methods=("PUT",), part="/manifests/v1", times=1)
    name = bench.name("index-pod")
    both = "--platform=linux/amd64,linux/arm64"
    with bench.builder(_WIDE, "--platform=linux/arm64", "--bootstrap"), bench.registry.broken(rule):
        client = bench.build(bench.step(0), both, "-t", name, "--push", builder=_WIDE)
        until("the index on its way", lambda: bench.registry.struck, 60)
        pods = [f"{_WIDE}-{architecture}-0" for architecture in ("amd64", "arm64")]
        bench.kubectl("delete", "pods", *pods, "--wait=false", "--grace-period=0", "--force").ok()
        began = time.monotonic()
        code = client.ends(120)
        puts = [asked.broken for asked in bench.registry.asked if asked.method == "PUT" and rule.part in asked.path]
    assert code == 0, f"exit code {code}\n{client.stderr}"
    assert puts[:2] == [True, False], f"the index was not written again: {puts}\n{client.stderr}"
    repository, _, tag = name.partition("/")[2].rpartition(":")
    assert set(bench.stored.images(repository, tag)) == {"linux/amd64", "linux/arm64"}
    return Seen(outcome=outcome(code), seconds=time.monotonic() - began, told=told(client.stderr, ()))


def _cache_refused(bench: Bench) -> Seen:
    """The registry does not see a blob of the cache when it gets its manifest, as when another pool writes the same blob just then."""
    rule = Rule(status=400, codes=_UNSEEN, methods=("PUT",), part="/manifests/v1", times=1)
    with bench.registry.broken(rule):
        began = time.monotonic()
        client = bench.build(bench.step(0), f"--cache-to=type=registry,ref={bench.name('cache')}")
        code = client.ends(120)
        puts = [asked.broken for asked in bench.registry.asked if asked.method == "PUT" and rule.part in asked.path]
    assert code == 0, f"exit code {code}\n{client.stderr}"
    assert puts == [True, False], f"{puts}\n{client.stderr}"
    words = "trying again (2 of 3)"
    assert words in client.stderr, f'stderr does not say "{words}"\n{client.stderr}'
    return Seen(outcome=outcome(code), seconds=time.monotonic() - began, told=told(client.stderr, (words,)))


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
    Fault(
        name="registry: down",
        group="registry",
        strikes=Strikes.BEFORE,
        inject=down,
        code=6,
        words=("error:", "connection refused", AGAIN),
        within=20,
        sleep=0,
        push=True,
    ),
    Fault(
        name="registry: down, and back",
        group="registry",
        strikes=Strikes.BEFORE,
        inject=down,
        words=(AGAIN,),
        sleep=0,
        push=True,
        until_told=True,
    ),
    _row("401", Rule(status=401, headers=(("WWW-Authenticate", 'Basic realm="test"'),)), words=("error:", "401")),
    _row("403", Rule(status=403), words=("error:", "403"), class_sample=True),
    _row("404", Rule(status=404, methods=_WRITES), words=("error:", "404")),
    _row("429 with Retry-After, twice", Rule(status=429, headers=(("Retry-After", "1"),), times=2), code=0),
    Fault(name="registry: 429 with Retry-After for the index", group="registry", strikes=Strikes.PUSH, scenario=_index_refused),
    _row(
        "layer of another push not seen, once",
        Rule(status=400, codes=_UNSEEN, methods=("PUT",), part="/manifests/", times=1),
        code=0,
        words=("blob unknown to registry; trying again (2 of 3)",),
    ),
    Fault(name="registry: pods killed while the index is written", group="registry", strikes=Strikes.PUSH, scenario=_index_without_its_pod),
    Fault(name="registry: layer of another cache not seen, once", group="registry", strikes=Strikes.PUSH, scenario=_cache_refused),
    _row("429 always", Rule(status=429, headers=(("Retry-After", "1"),)), words=("error:", "429")),
    _row("500 once", Rule(status=500, methods=_WRITES, times=1), code=0),
    _row("500 always", Rule(status=500), words=("error:", "500")),
    _row("slow, 2 s an answer", Rule(delay=2), code=0),
    _row("connection cut in a blob, once", Rule(cut=True, methods=("PATCH", "PUT"), part="/blobs/", times=1), code=0),
    _row("connection cut in every blob", Rule(cut=True, methods=("PATCH", "PUT"), part="/blobs/"), words=("error:",)),
)
