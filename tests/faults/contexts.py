"""Contexts that change while they are sent."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults.bench import Bench
from tests.faults.fault import Fault, Seen, Strikes, outcome, told

_FILES = 12
_SIZE = 4 * 1024 * 1024
"""Bytes of each: sockets on the way take some 10 MiB before the client must stop."""

_RATE = 2 * 1024 * 1024


def _scenario(change: Callable[[Path], object], words: tuple[str, ...], codes: tuple[int, ...]) -> Callable[[Bench], Seen]:
    """All files of a context change after the first ones have gone, and before the others: which come first, the daemon decides."""

    def scenario(bench: Bench) -> Seen:
        files = {f"file{number:02}": os.urandom(_SIZE) for number in range(_FILES)}
        tree = bench.tree("FROM scratch\nCOPY . /\n", files)
        # Root reads everything, unless it gives that right away.
        prefix = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
        with bench.link.holding(after=_SIZE) as held:
            client = bench.build(tree, prefix=prefix)
            client.reaches("the context on its way", held)
            for name in files:
                change(tree / name)
            began = time.monotonic()
        code = client.ends(60)
        assert code in codes, f"exit code {code}, not one of {codes}\n{client.stderr}"
        missing = [word for word in words if word not in client.stderr]
        assert not missing, f"stderr does not say {missing}\n{client.stderr}"
        return Seen(outcome=outcome(code), seconds=time.monotonic() - began, told=told(client.stderr, words[1:]))

    return scenario


def _always_changing(bench: Bench) -> Seen:
    """Another program appends to a file all the time, as to a log within the context."""
    tree = bench.tree("FROM scratch\nCOPY . /\n", {"log": os.urandom(_RATE // 2), "other": os.urandom(_RATE // 2)})
    stop = threading.Event()

    def append() -> None:
        with (tree / "log").open("ab", buffering=0) as log:
            while not stop.wait(0.005):
                log.write(b"line\n")

    writer = threading.Thread(target=append)
    writer.start()
    try:
        began = time.monotonic()
        with bench.link.slow(rate=_RATE):
            client = bench.build(tree)
            code = client.ends(60)
    finally:
        stop.set()
        writer.join()
    assert code == 1, f"exit code {code}, not 1\n{client.stderr}"
    assert "log" in told(client.stderr, ("error:",)), client.stderr
    return Seen(outcome=outcome(code), seconds=time.monotonic() - began, told=told(client.stderr, ("error:",)))


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _row(name: str, change: Callable[[Path], object], *, codes: tuple[int, ...] = (1,), class_sample: bool = False) -> Fault:
    words = ("/file", "error:")
    scenario = _scenario(change, words, codes)
    return Fault(name=f"a file {name}", group="context", strikes=Strikes.CONTEXT, scenario=scenario, class_sample=class_sample)


FAULTS = (
    _row("vanishes", Path.unlink, codes=(1, 2)),
    _row("grows", _grow, class_sample=True),
    _row("shrinks", lambda path: os.truncate(path, 1000)),
    _row("becomes unreadable", lambda path: path.chmod(0), codes=(2,)),
    Fault(name="a file grows all the time", group="context", strikes=Strikes.CONTEXT, scenario=_always_changing),
)
