"""A row of the matrix: what breaks, when, what must come of it; and running one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import Enum

from tests.faults.bench import PROMISED, Bench, Client, run_ok, until
from tests.faults.registry import Rule

AGAIN = "trying again (2 of 3)"
QUIET = "has not asked for this client's health"
SILENT = f"{QUIET} for 12 s"
_MIB = 1024 * 1024
_BUILD_S = 150.0


class Strikes(Enum):
    """When a fault strikes."""

    BEFORE = "before the build"
    CONNECTING = "while the client connects"
    CONTEXT = "while the context is sent"
    STEP = "while a step runs"
    PUSH = "while layers are pushed"
    OTHERWISE = "as the fault says"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was seen: of the row's own scenario, then by what was looked at afterwards."""

    outcome: str
    seconds: float
    told: str
    wrong: str = ""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One row. A build is started, the fault strikes at its time, and is undone when all words were told (`until_told`) or when the build
    ended.

    `words` must be told, the first of them `within` seconds after the fault struck; none means that nothing need be told, and that
    the build succeeds all the same. `scenario` stands for all of that where a row is of another shape. `leaves` are Leases and files that
    may stay, because nobody is left to remove them. `class_sample` rows run with the ordinary tests.
    """

    name: str
    group: str
    strikes: Strikes = Strikes.STEP
    inject: Callable[[Bench, Client | None], AbstractContextManager[object]] | None = None
    scenario: Callable[[Bench], Seen] | None = None
    code: int = 0
    words: tuple[str, ...] = ()
    within: float = PROMISED
    sleep: float = 4
    flags: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    push: bool = False
    until_told: bool = False
    deadlines: str = ""
    """KUBECTL_BUILD_DEADLINES of the clients, where a path is known to need longer ones."""
    leaves: bool = False
    class_sample: bool = False
    alone: bool = False
    """Breaks what all users of the cluster share."""

    def run(self, bench: Bench) -> Seen:
        """Run the row and look at what it left. Raises AssertionError where it is not what must be."""
        try:
            return self._run(bench)
        finally:
            bench.end_clients()

    def _run(self, bench: Bench) -> Seen:
        bench.ready()
        until("the end of what the row before has left", lambda: not bench.active(), 60)
        before = bench.namespace.objects()
        held = {item.removeprefix("Lease/") for item in before if item.startswith("Lease/")}
        clients: list[Client] = []
        seen = self.scenario(bench) if self.scenario else self._strike(bench, clients)
        bench.ready()
        until("the end of the daemon's builds", lambda: not bench.active(), PROMISED)
        if not self.leaves:
            # Who cannot reach the API server cannot delete a Lease, but can say so.
            said = "".join(client.stderr for client in clients)
            try:
                until("the end of the Lease", lambda: all(f"Lease {name} is left" in said for name in set(bench.leases()) - held), 5)
            except AssertionError:
                raise AssertionError(f"left without a word: Lease {set(bench.leases()) - held}\n{said}") from None
            assert not (left := [item for client in clients for item in client.left()]), f"left behind: {left}"
        # Leases are of single builds, whose ends were waited for above.
        now = {item for item in bench.namespace.objects() if not item.startswith("Lease/")}
        assert now == {item for item in before if not item.startswith("Lease/")}, f"objects were {before}, are {now}"
        run_ok(bench)
        return seen

    def _strike(self, bench: Bench, clients: list[Client]) -> Seen:
        assert self.inject is not None
        if self.deadlines:
            bench = bench.with_environment(KUBECTL_BUILD_DEADLINES=self.deadlines)
        big = {"big": noise(20 * _MIB)} if self.strikes is Strikes.CONTEXT else {}
        tree = bench.step(self.sleep, {**self.files, **big})
        name = bench.name(re.sub(r"\W+", "-", self.name.lower()))
        pushed = ("-t", name, "--push") if self.push or self.strikes is Strikes.PUSH else ()
        with ExitStack() as stack:
            client = None
            if self.strikes is Strikes.BEFORE:
                stack.enter_context(self.inject(bench, None))
                began = time.monotonic()
                client = bench.build(tree, *pushed, *self.flags)
                clients.append(client)
            else:
                with reaching(bench, self.strikes) as reached:
                    client = bench.build(tree, *pushed, *self.flags)
                    clients.append(client)
                    client.reaches(self.strikes.value, lambda: reached(client))
                    stack.enter_context(self.inject(bench, client))
                    began = time.monotonic()
            seconds = self._told(client, began)
            if self.until_told:
                for word in self.words:
                    client.says(word, PROMISED)
                stack.close()
            code = client.ends(_BUILD_S)
        ended = time.monotonic() - began
        assert code == self.code, f"exit code {code}, not {self.code}\n{client.stderr}"
        lower = client.stderr.lower()
        missing = [word for word in self.words if word.lower() not in lower]
        assert not missing, f"stderr does not say {missing}\n{client.stderr}"
        if pushed and code == 0:
            repository, _, tag = name.partition("/")[2].rpartition(":")
            bench.stored.image(repository, tag)
        return Seen(
            outcome=outcome(code),
            seconds=seconds if self.words else ended,
            told=told(client.stderr, self.words or (() if code else ("trying again",))),
        )

    def _told(self, client: Client, began: float) -> float:
        """Seconds until the first of the words was told."""
        if not self.words:
            return 0.0
        client.reaches(f'"{self.words[0]}"', lambda: self.words[0].lower() in client.stderr.lower(), max(0.1, self.within + 60))
        seconds = time.monotonic() - began
        assert seconds <= self.within, f'"{self.words[0]}" was told after {seconds:.1f} s, not within {self.within:g} s\n{client.stderr}'
        return seconds


@contextmanager
def reaching(bench: Bench, strikes: Strikes) -> Iterator[Callable[[Client], object]]:
    """Make a build stay at a point for a while; the answer tells whether a client is there."""
    carried = bench.link.carried
    if strikes is Strikes.CONTEXT:
        with bench.link.slow(rate=3 * _MIB):
            yield lambda client: bench.link.carried > carried + 2 * _MIB
    elif strikes is Strikes.PUSH:
        with bench.registry.broken(Rule(delay=3, methods=("PATCH", "PUT"), part="/blobs/")):
            yield lambda client: bench.registry.struck
    elif strikes is Strikes.CONNECTING:
        yield lambda client: bench.link.carried > carried
    else:
        yield lambda client: " begun" in client.stderr


def outcome(code: int) -> str:
    """An exit code in words."""
    return "the build succeeds" if code == 0 else f"exit code {code}"


def told(stderr: str, words: tuple[str, ...]) -> str:
    """The line that a user reads: the one with the first of `words`, else the error."""
    lines = [line.strip() for line in stderr.splitlines()]
    for word in words[:1] or ("error:", "trying again"):
        # Our own sentence before BuildKit's, which writes ERROR.
        for line in (*(line for line in lines if line.startswith("error:")), *lines):
            if word.lower() in line.lower():
                return re.sub(r"^#\d+ [\d.]* ?", "", line)
    return ""


def noise(size: int) -> bytes:
    """Bytes that do not compress; the same each time would be sent once only."""
    with open("/dev/urandom", "rb") as source:
        return source.read(size)
