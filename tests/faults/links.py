"""Faults of the way from the client to the API server."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.cluster import layout
from tests.faults.bench import Bench, Client
from tests.faults.fault import AGAIN, QUIET, SILENT, Fault, Strikes

_TABLE = "kubectl-build-faults"


@contextmanager
def cut(bench: Bench, _: Client | None) -> Iterator[None]:
    """All connections to the API server end."""
    bench.link.cut()
    yield


def frozen(*, up: bool, down: bool) -> Callable[[Bench, Client | None], AbstractContextManager[object]]:
    """Nothing passes, and no connection is closed."""
    return lambda bench, _: bench.link.frozen(up=up, down=down)


def far(delay: float) -> Callable[[Bench, Client | None], AbstractContextManager[object]]:
    """Each piece arrives so many seconds late, in both directions."""
    return lambda bench, _: bench.link.slow(delay=delay)


def away(bench: Bench, _: Client | None) -> AbstractContextManager[object]:
    """Nobody answers at the API server's address."""
    return bench.link.away()


@contextmanager
def lossy(bench: Bench, _: Client | None) -> Iterator[None]:
    """Three of ten packets of the client's connections are lost, in each direction."""
    port = bench.link.address.rpartition(":")[2]
    rules = f"""table inet {_TABLE} {{
        chain input {{
            type filter hook input priority 0;
            tcp dport {port} numgen random mod 10 < 3 drop
            tcp sport {port} numgen random mod 10 < 3 drop
        }}
    }}
    """
    nft = str(layout.RUN / "nft")
    subprocess.run([nft, "-f", "-"], input=rules, text=True, check=True, timeout=10)
    try:
        yield
    finally:
        subprocess.run([nft, "delete", "table", "inet", _TABLE], check=True, timeout=10)


FAULTS = (
    Fault(name="stream cut", group="link", inject=cut, sleep=3, words=(AGAIN,), class_sample=True),
    Fault(name="stream cut as the context is sent", group="link", strikes=Strikes.CONTEXT, inject=cut, words=(AGAIN,)),
    Fault(name="stream cut as layers are pushed", group="link", strikes=Strikes.PUSH, inject=cut, words=(AGAIN,)),
    Fault(name="stream frozen", group="link", inject=frozen(up=True, down=True), sleep=6, words=(SILENT, AGAIN), until_told=True),
    # The daemon asks once more, so that the loss takes some seconds longer, but its silence is told before.
    Fault(
        name="stream frozen towards the daemon",
        group="link",
        inject=frozen(up=True, down=False),
        sleep=40,
        words=(QUIET, SILENT, AGAIN),
        until_told=True,
    ),
    Fault(
        name="stream frozen towards the client", group="link", inject=frozen(up=False, down=True), words=(SILENT, AGAIN), until_told=True
    ),
    Fault(
        name="stream frozen as the context is sent",
        group="link",
        strikes=Strikes.CONTEXT,
        inject=frozen(up=True, down=True),
        words=(SILENT, AGAIN),
        until_told=True,
    ),
    Fault(
        name="API server not reachable",
        group="link",
        strikes=Strikes.BEFORE,
        inject=away,
        code=4,
        words=("error:", layout.HOST_IP),
    ),
    Fault(
        name="API server silent before the build",
        group="link",
        strikes=Strikes.BEFORE,
        inject=frozen(up=True, down=True),
        code=4,
        words=("error:", layout.HOST_IP),
    ),
    # Nobody can delete the Lease; it counts as dead after its minute.
    Fault(
        name="API server gone during a build and not back",
        group="link",
        inject=away,
        sleep=60,
        code=5,
        within=50,
        words=("error:",),
        leaves=True,
    ),
    Fault(name="200 ms delay", group="link", strikes=Strikes.BEFORE, inject=far(0.1)),
    # Half of the packets that open a connection get no answer: of ten connections one takes longer than the usual 10 s.
    Fault(
        name="30 % packet loss",
        group="link",
        strikes=Strikes.BEFORE,
        inject=lossy,
        files={"data": bytes(100_000)},
        deadlines="connect=60s,answer=60s",
    ),
)
