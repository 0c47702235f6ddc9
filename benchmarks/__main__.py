"""`python -m benchmarks`: time us beside docker buildx, print a table, write docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

from benchmarks import report
from benchmarks.figures import Compared, Spread, Unit
from benchmarks.report import Outcome
from benchmarks.rig import Rig, ready
from benchmarks.row import Row, selected
from benchmarks.rows import ROWS
from benchmarks.side import Side
from benchmarks.timed import Timed
from tests.cluster import owner
from tests.cluster.say import Trouble, say
from tests.e2e import environment

_MIB = 1024 * 1024
_BUSY = 1.0
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="ROW", default=[], help="only these rows")
    parser.add_argument("--runs", type=int, metavar="N", help="counted runs of each side; else as each row says, 5 or more")
    parser.add_argument("--list", action="store_true", help="print the rows and stop")
    parser.add_argument("--no-write", action="store_true", help="leave docs/benchmarks.md as it is")
    arguments = parser.parse_args()
    if arguments.runs is not None and arguments.runs < 1:
        parser.error("--runs must be at least 1")
    return arguments


def _figure(row: Row, done: Timed) -> float:
    if row.unit is Unit.SECONDS:
        return done.seconds
    # The kernel counts for a child what its parent had when it was started.
    done.must(done.peak > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "takes no more memory than this program itself")
    return done.peak / _MIB


def _row(rig: Rig, row: Row, runs: int) -> Outcome:
    """Measure in turn A B A B, after a warm-up of each if the row wants one."""
    figures: dict[Side, list[float]] = {side: [] for side in Side}
    commands: dict[Side, str] = {}
    try:
        with row.opened(rig) as measure:
            for number in range(0 if row.warm else 1, runs + 1):
                for side in Side:
                    done = measure(side, number)
                    figure = _figure(row, done)
                    commands[side] = rig.shown(done.command)
                    if number:
                        figures[side].append(figure)
                    print(f"    {row.name} {number or 'warm-up'}: {side.value} {figure:.2f} {row.unit.value}", flush=True)
    except (Trouble, OSError, subprocess.SubprocessError) as error:
        print(f"    {error}", flush=True)
        return Outcome(trouble=str(error))
    compared = Compared(ours=Spread.of(figures[Side.OURS]), theirs=Spread.of(figures[Side.THEIRS]), bar=row.bar)
    return Outcome(compared=compared, commands=[commands[side] for side in Side])


def _all(rig: Rig, rows: Sequence[Row], runs: int | None) -> dict[str, Outcome]:
    since = time.monotonic()
    outcomes = {}
    for row in rows:
        outcomes[row.name] = _row(rig, row, runs or row.runs)
        print(f"{report.line(row, outcomes[row.name])}  [{(time.monotonic() - since) / 60:.1f} min]", flush=True)
    return outcomes


def _interrupt(number: int, _: FrameType | None) -> None:
    """End the run. Further signals are left unheard, for they would break off the cleaning."""
    for other in _ENDING:
        signal.signal(other, lambda *_: None)
    raise KeyboardInterrupt(signal.Signals(number).name)


def main() -> int:
    """Exit 0 when every row ran and met its bar."""
    arguments = _arguments()
    rows = selected(ROWS, arguments.only)
    if arguments.list:
        print("\n".join(f"{row.name:18} bar {row.bar:<4g} {row.shows}" for row in rows))
        return 0
    cluster = environment.load()
    if cluster is None:
        raise Trouble("the local cluster is not up: run `make cluster`")
    for number in _ENDING:
        signal.signal(number, _interrupt)
    load = os.getloadavg()[0]
    if load > _BUSY:
        say(f"this machine is busy (load average {load:.1f}): the ratios may say something, the seconds do not")
    with owner.tests_lock(timeout_s=1800), ready(cluster) as rig:
        outcomes = _all(rig, rows, arguments.runs)
    print("\n".join(report.line(row, outcomes[row.name]) for row in rows))
    if not arguments.no_write:
        report.write(ROWS, outcomes, load)
    return 0 if all(outcome.met for outcome in outcomes.values()) else 1


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        try:
            sys.exit(main())
        except Trouble as trouble:
            sys.exit(f"bench: {trouble}")
        except KeyboardInterrupt as interrupted:
            sys.exit(f"bench: interrupted by {interrupted}, nothing was written")
