"""`python -m tests.parity`: run the corpus, print a table, write docs/parity.md."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tests.cluster import owner
from tests.cluster.say import Trouble
from tests.e2e import environment
from tests.parity import corpus, coverage, report
from tests.parity.case import Case
from tests.parity.compare import Verdict, compare
from tests.parity.rig import Rig, ready

_HOST_PROGRAMS = ("git", "go", "ssh-add", "ssh-agent", "ssh-keygen")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[], help="cases whose name begins with one of these")
    parser.add_argument("--jobs", type=int, default=4, help="cases at once")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="keep builders and files there, and use them again")
    return parser.parse_args()


def _selected(only: Sequence[str]) -> list[Case]:
    cases = [case for case in corpus.CASES if not only or case.name.startswith(tuple(only))]
    if not cases:
        raise Trouble(f"no case is named {' or '.join(only)}")
    return cases


def _run(rig: Rig, cases: Sequence[Case], jobs: int) -> list[Verdict]:
    """Compare several cases at once and print each as it ends; the order of the answer is that of the corpus."""
    with ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(compare, rig, case): case for case in cases}
        verdicts = {}
        for ended in as_completed(running):
            verdict = ended.result()
            verdicts[verdict.case.name] = verdict
            print(report.line(verdict), flush=True)
    return [verdicts[case.name] for case in cases]


def main() -> int:
    """Exit 0 when all are equal and every flag was used."""
    arguments = _arguments()
    cluster = environment.load()
    if cluster is None:
        raise Trouble("the local cluster is not up: run `make cluster`")
    missing = [program for program in _HOST_PROGRAMS if shutil.which(program) is None]
    if missing:
        raise Trouble(f"{' and '.join(missing)} is missing on this machine: cases are made with it")
    cases = _selected(arguments.only)
    with tempfile.TemporaryDirectory(prefix="kubectl-build-parity-") as temporary, owner.tests_lock(timeout_s=600):
        directory = arguments.keep.absolute() if arguments.keep else Path(temporary)
        namespace = "parity-kept" if arguments.keep else f"parity-{uuid.uuid4().hex[:6]}"
        with ready(cluster, directory, namespace=namespace, keep=arguments.keep is not None) as rig:
            verdicts = _run(rig, cases, arguments.jobs)
            usage = subprocess.run(
                [rig.tools[0].command[0], "build", "--help"], capture_output=True, text=True, check=True, timeout=20
            ).stdout
    wrong = [verdict for verdict in verdicts if not verdict.equal]
    print(f"{len(verdicts) - len(wrong)} of {len(verdicts)} are equal" + "".join(f"\n  not {verdict.case.name}" for verdict in wrong))
    flags = coverage.flags(usage, corpus.CASES)
    unseen = [flag for flag, having in flags.items() if not having]
    if unseen:
        print(f"flags that no case has: {' '.join(unseen)}")
    if not arguments.only:
        report.write(verdicts, flags)
    return 1 if wrong or unseen else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Trouble as trouble:
        sys.exit(f"parity: {trouble}")
