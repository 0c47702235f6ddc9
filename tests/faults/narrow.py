"""A client behind a narrow line: in a network namespace of its own, whose one interface the kernel shapes in both directions."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.cluster.host import run
from tests.faults.bench import Bench
from tests.faults.fault import Fault, Seen, Strikes, noise, outcome

_NAMESPACE = "kubectl-build-narrow"
_OUTER, _INNER = "kbc-narrow0", "kbc-narrow1"
_HOST, _CLIENT = "10.79.0.1", "10.79.0.2"
_RATE = 1_000_000
"""Bits a second."""
_BURST = 16 * 1024
_BYTES = 600_000


@dataclass(frozen=True, slots=True)
class Line:
    """`prefix` before a command puts it at the narrow end."""

    prefix: tuple[str, ...]

    def carried(self) -> int:
        """Bytes that left the client's end."""
        shown = json.loads(run(*self.prefix, "tc", "-json", "-statistics", "qdisc", "show", "dev", _INNER))
        return next(int(qdisc["bytes"]) for qdisc in shown if qdisc["kind"] == "tbf")


@contextmanager
def open_line() -> Iterator[Line]:
    """Make the namespace and the line; raises Trouble where the machine cannot."""
    _remove()
    prefix = ("ip", "netns", "exec", _NAMESPACE)
    shaped = ("root", "tbf", "rate", f"{_RATE}bit", "burst", str(_BURST), "latency", "500ms")
    try:
        run("ip", "netns", "add", _NAMESPACE)
        run("ip", "link", "add", _OUTER, "type", "veth", "peer", "name", _INNER, "netns", _NAMESPACE)
        run("ip", "address", "add", f"{_HOST}/30", "dev", _OUTER)
        run("ip", "link", "set", _OUTER, "up")
        run("tc", "qdisc", "add", "dev", _OUTER, *shaped)
        run(*prefix, "ip", "address", "add", f"{_CLIENT}/30", "dev", _INNER)
        run(*prefix, "ip", "link", "set", _INNER, "up")
        run(*prefix, "ip", "link", "set", "lo", "up")
        run(*prefix, "ip", "route", "add", "default", "via", _HOST)
        run(*prefix, "tc", "qdisc", "add", "dev", _INNER, *shaped)
        yield Line(prefix)
    finally:
        _remove()


def _remove() -> None:
    for thing in (("link", "delete", _OUTER), ("netns", "delete", _NAMESPACE)):
        subprocess.run(["ip", *thing], capture_output=True, check=False, timeout=10)


def _narrow(bench: Bench) -> Seen:
    """A context that the line needs some seconds for; the kernel's own count says that it went through the line."""
    tree = bench.step(0, {"data": noise(_BYTES)})
    with open_line() as line:
        began = time.monotonic()
        client = bench.build(tree, prefix=line.prefix)
        code = client.ends(120)
        seconds = time.monotonic() - began
        carried = line.carried()
    assert code == 0, f"exit code {code}\n{client.stderr}"
    assert carried > _BYTES, f"only {carried} bytes went through the line"
    assert seconds > (carried - _BURST) * 8 / _RATE, f"{carried} bytes in {seconds:.1f} s: the line was not narrow"
    return Seen(outcome=outcome(code), seconds=seconds, told="")


FAULTS = (Fault(name="1 Mbit/s", group="link", strikes=Strikes.BEFORE, scenario=_narrow),)
