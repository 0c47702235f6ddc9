"""`python -m tests.faults`: run the matrix, print a table, write it into docs/reliability.md."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests import signals
from tests.cluster import owner
from tests.cluster.say import Trouble
from tests.e2e import environment
from tests.faults import report
from tests.faults.bench import Bench, open_bench
from tests.faults.fault import Fault, Seen
from tests.faults.matrix import FAULTS


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[], help="rows whose name or group begins with one of these")
    parser.add_argument("--shared", action="store_true", help="also with --only: rows that break what all users of the cluster share")
    return parser.parse_args()


def _selected(only: list[str], shared: bool) -> list[Fault]:
    wanted = tuple(only)
    found = [fault for fault in FAULTS if not only or fault.name.startswith(wanted) or fault.group.startswith(wanted)]
    if not found:
        raise Trouble(f"no fault is named {' or '.join(only)}")
    return [fault for fault in found if shared or not only or not fault.alone]


def _row(fault: Fault, bench: Bench) -> Seen:
    since = time.monotonic()
    try:
        seen = fault.run(bench)
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        seen = Seen(outcome="not as it must be", seconds=time.monotonic() - since, told="", wrong=str(error) or repr(error))
    print(report.line(fault, seen), flush=True)
    if seen.wrong:
        print("    " + seen.wrong.replace("\n", "\n    "), flush=True)
    return seen


def main() -> int:
    """Exit 0 when every row is as it must be."""
    arguments = _arguments()
    cluster = environment.load()
    if cluster is None:
        raise Trouble("the local cluster is not up: run `make cluster`")
    faults = _selected(arguments.only, arguments.shared)
    seen: dict[str, Seen] = {}
    with tempfile.TemporaryDirectory(prefix="kubectl-build-faults-") as temporary:
        for alone, lock in ((False, owner.tests_lock), (True, owner.no_tests)):
            rows = [fault for fault in faults if fault.alone is alone]
            if not rows:
                continue
            directory = Path(temporary) / ("alone" if alone else "beside")
            directory.mkdir()
            with lock(timeout_s=1800), open_bench(cluster, directory) as bench:
                seen.update({fault.name: _row(fault, bench) for fault in rows})
    wrong = [name for name, found in seen.items() if found.wrong]
    print(f"{len(seen) - len(wrong)} of {len(seen)} are as they must be" + "".join(f"\n  not {name}" for name in wrong))
    report.write(FAULTS, seen)
    return 1 if wrong else 0


if __name__ == "__main__":
    signals.restore()
    try:
        sys.exit(main())
    except Trouble as trouble:
        sys.exit(f"error: {trouble}")
