"""Faults of the client: signals at five points of a build, a laptop that sleeps, a clock that is wrong."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from tests.cluster import debian
from tests.faults.bench import POD, PROMISED, Bench, until
from tests.faults.fault import Fault, Seen, Strikes, reaching, told

_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGKILL: -9}
_POINTS = (Strikes.CONNECTING, Strikes.CONTEXT, Strikes.STEP, Strikes.PUSH)
_GIVES_UP = 50
"""Seconds: a question after 5 s at most, which waits 15 s, and one that waits half as long again (BuildKit's session/grpc.go)."""
_FRESH = "other"
_DAEMONS = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


def _signal(number: signal.Signals, strikes: Strikes) -> Fault:
    def scenario(bench: Bench) -> Seen:
        files = {"big": os.urandom(20 * 1024 * 1024)} if strikes is Strikes.CONTEXT else {}
        pushed = ("-t", bench.name("signal"), "--push") if strikes is Strikes.PUSH else ()
        tree = bench.step(0 if strikes is Strikes.PUSH else 60, files)
        with reaching(bench, strikes) as reached:
            client = bench.build(tree, *pushed)
            client.reaches(strikes.value, lambda: reached(client))
            client.process.send_signal(number)
            began = time.monotonic()
            code = client.ends(PROMISED)
        seconds = time.monotonic() - began
        assert code == _CODES[number], f"exit code {code}, not {_CODES[number]}\n{client.stderr}"
        until("the end of the daemon's builds", lambda: not bench.active(), PROMISED)
        if number != signal.SIGKILL:
            assert not client.left(), client.left()
        return Seen(outcome=f"exit code {code}", seconds=seconds, told=told(client.stderr, ("interrupted",)))

    return Fault(
        name=f"{number.name} {strikes.value}",
        group="client",
        strikes=strikes,
        scenario=scenario,
        leaves=number == signal.SIGKILL,
        class_sample=(number, strikes) == (signal.SIGTERM, Strikes.STEP),
    )


def _signal_while_pods_start(number: signal.Signals) -> Fault:
    def scenario(bench: Bench) -> Seen:
        bench.remove(_FRESH)
        client = bench.build(bench.step(60), builder=_FRESH)
        try:
            client.reaches("the builder's set", lambda: f"{_FRESH}-amd64" in bench.namespace.stateful_sets())
            client.process.send_signal(number)
            began = time.monotonic()
            code = client.ends(PROMISED)
            seconds = time.monotonic() - began
            assert code == _CODES[number], f"exit code {code}, not {_CODES[number]}\n{client.stderr}"
            if number != signal.SIGKILL:
                assert not client.left(), client.left()
        finally:
            bench.remove(_FRESH)
        return Seen(outcome=f"exit code {code}", seconds=seconds, told=told(client.stderr, ("interrupted",)))

    return Fault(
        name=f"{number.name} while the builder's pods start", group="client", strikes=Strikes.OTHERWISE, scenario=scenario, leaves=True
    )


def _second_interrupt(bench: Bench) -> Seen:
    """The first Ctrl-C waits for the daemon, which is frozen; the second does not."""
    client = bench.build(bench.step(60))
    client.says(" begun", 60)
    daemon = bench.daemon()
    os.kill(daemon, signal.SIGSTOP)
    try:
        client.process.send_signal(signal.SIGINT)
        # Two signals of one number that come together are one; people need a moment between them.
        first = time.monotonic()
        until("a second", lambda: time.monotonic() - first > 1, 5)
        assert not client.ended, "it did not wait for the daemon"
        began = time.monotonic()
        client.process.send_signal(signal.SIGINT)
        code = client.ends(3)
        seconds = time.monotonic() - began
    finally:
        os.kill(daemon, signal.SIGCONT)
    assert code == 130, client.stderr
    return Seen(outcome="exit code 130", seconds=seconds, told=told(client.stderr, ("interrupted",)))


def _suspended(bench: Bench) -> Seen:
    """The client's whole session is stopped for a minute; the daemon gives its session up meanwhile, and goes on with the build."""
    client = bench.build(bench.step(70))
    client.says(" begun", 60)
    before = _given_up(bench)
    os.killpg(client.process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        until("the daemon's giving up", lambda: _given_up(bench) > before, _GIVES_UP)
        until("a minute", lambda: time.monotonic() - began > 60, 70)
        assert bench.active(), "the daemon has ended the build"
    finally:
        os.killpg(client.process.pid, signal.SIGCONT)
    woken = time.monotonic()
    client.says("trying again", PROMISED)
    seconds = time.monotonic() - woken
    code = client.ends(150)
    assert code == 0, client.stderr
    return Seen(outcome="the build succeeds", seconds=seconds, told=told(client.stderr, ("trying again",)))


def _given_up(bench: Bench) -> int:
    """How many sessions the daemon says it has given up."""
    return bench.kubectl("logs", POD, "-c", "buildkitd").ok().stdout.count("healthcheck failed fatally")


def _skewed(offset: str) -> Callable[[Bench], Seen]:
    def scenario(bench: Bench) -> Seen:
        library = debian.package("libfaketime") / _DAEMONS.lstrip("/")
        wrong = bench.with_environment(LD_PRELOAD=str(library), FAKETIME=offset, FAKETIME_DONT_FAKE_MONOTONIC="1", FAKETIME_NO_CACHE="1")
        began = time.monotonic()
        client = wrong.build(bench.step(2), "-t", bench.name("skew"), "--push")
        code = client.ends(120)
        assert code == 0, f"exit code {code}\n{client.stderr}"
        return Seen(outcome="the build succeeds", seconds=time.monotonic() - began, told="")

    return scenario


FAULTS = (
    *(_signal(number, strikes) for number in _CODES for strikes in _POINTS),
    *(_signal_while_pods_start(number) for number in _CODES),
    Fault(name="second Ctrl-C, the daemon frozen", group="client", scenario=_second_interrupt, leaves=True),
    Fault(name="client suspended for 60 s", group="client", scenario=_suspended),
    Fault(name="the client's clock 2 h ahead", group="clock", strikes=Strikes.BEFORE, scenario=_skewed("+2h")),
    Fault(name="the client's clock 10 min behind", group="clock", strikes=Strikes.BEFORE, scenario=_skewed("-10m"), class_sample=True),
)
