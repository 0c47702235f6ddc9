"""`python -m tests.soak`: build for a while amid pod kills, look for what is left, write the numbers into docs/reliability.md.

The builds of the workers run in client processes, as people start them. Beside them a process that stays builds by the library; its
memory and file descriptors are measured.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests import signals
from tests.cluster import owner
from tests.cluster.say import Trouble
from tests.e2e import environment
from tests.faults.bench import POD, Bench, open_bench, until
from tests.faults.report import DOCUMENT
from tests.soak.resident import Resident

_BUILDER = "soak"
_PODS = ("soak-amd64-0", "soak-arm64-0")
_BEGIN, _END = "<!-- soak: written by `make soak` -->", "<!-- soak end -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """One build: `reason` is the error that ended it, empty when it succeeded; `wrong` is what must not be."""

    seconds: float
    tries: int
    reason: str = ""
    wrong: str = ""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--builds", type=int, default=200)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--kill-every", type=float, default=20, metavar="SECONDS", help="mean time between pod kills")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def _one(bench: Bench, number: int) -> Built:
    """Build an image for two platforms, one of them in each pool, and compare what was told with what the registry has."""
    tree = bench.tree(
        f"FROM busybox AS work\nRUN echo {number} > /done && sleep 1\nFROM scratch\nCOPY --from=work /done /\nCOPY data /\n",
        {"data": str(number).encode() * 1000},
    )
    name = bench.name("soak")
    began = time.monotonic()
    flags = ("--progress=plain", "--platform=linux/amd64,linux/arm64", f"--builder={_BUILDER}", "-t", name, "--push")
    client = bench.start(tree, *flags)
    wrong = reason = ""
    try:
        code = client.ends(240)
    except AssertionError as error:
        return Built(seconds=time.monotonic() - began, tries=0, wrong=str(error))
    seconds = time.monotonic() - began
    repository, _, tag = name.partition("/")[2].rpartition(":")
    if code == 0:
        wrong = _content(bench, repository, tag, number, client.stderr)
    else:
        reason = next((line for line in client.stderr.splitlines() if line.startswith("error:")), "")
        wrong = "" if reason and code in (4, 5, 6) else f"exit code {code} without a reason of the infrastructure\n{client.stderr}"
        if bench.stored.tags(repository):
            wrong = f"failed, and yet tagged\n{client.stderr}"
    if left := client.left():
        wrong = f"left behind: {left}"
    return Built(seconds=seconds, tries=1 + client.stderr.count("trying again"), reason=reason, wrong=wrong)


def _content(bench: Bench, repository: str, tag: str, number: int, stderr: str) -> str:
    digest = bench.stored.manifest(repository, tag).digest
    images = bench.stored.images(repository, tag)
    if digest not in stderr:
        return f"{digest} was not told\n{stderr}"
    if set(images) != {"linux/amd64", "linux/arm64"}:
        return f"platforms {sorted(images)}"
    for image in images.values():
        if image.files["done"] != f"{number}\n".encode() or image.files["data"] != str(number).encode() * 1000:
            return f"wrong files in {repository}"
    return ""


def _kill_pods(bench: Bench, mean: float, seed: int, stop: threading.Event) -> int:
    """Kill a random pod at random times until told to stop; returns how many were killed."""
    chance = random.Random(seed)
    killed = 0
    while not stop.wait(chance.expovariate(1 / mean)):
        pod = chance.choice(_PODS)
        killed += bench.kubectl("delete", "pod", pod, "--grace-period=0", "--force", "--wait=false").code == 0
    return killed


def _found(bench: Bench) -> list[str]:
    """What is in the cluster of builds: those that daemons still run, the daemons' ends of streams, Leases, and pods of nobody."""
    found = [f"Lease {name}" for name in bench.leases()]
    for pod in _PODS:
        found += [f"build {ref} in pod {pod}" for ref in bench.active(pod)]
        found += [f"process {pid} in pod {pod}" for pid in bench.processes("buildctl", "dial-stdio", pod=pod)]
    pods = bench.kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.name}").ok().stdout.split()
    return found + [f"pod {name}" for name in pods if name not in (POD, *_PODS)]


def _left(bench: Bench) -> list[str]:
    """What a soak leaves in the cluster."""
    for pod in _PODS:
        bench.ready(pod)
    try:
        until("the end of what builds leave", lambda: not _found(bench), 30)
    except AssertionError:
        return _found(bench)
    return []


def _soak(bench: Bench, arguments: argparse.Namespace) -> tuple[list[Built], int, Sequence[str], Resident, float]:
    bench.kubectl("buildkit", "create", _BUILDER, "--platform=linux/amd64,linux/arm64", "--bootstrap", timeout=200).ok()
    stop, began = threading.Event(), time.monotonic()
    resident = Resident(bench, _BUILDER, stop)
    with ThreadPoolExecutor(arguments.workers + 2) as pool:
        killer = pool.submit(_kill_pods, bench, arguments.kill_every, arguments.seed, stop)
        staying = pool.submit(resident.run)
        work = ThreadPoolExecutor(arguments.workers)
        try:
            built = []
            for found in work.map(lambda number: _one(bench, number), range(arguments.builds)):
                built.append(found)
                if found.wrong or len(built) % 20 == 0:
                    print(f"{len(built)} builds, {time.monotonic() - began:.0f} s {found.wrong}", flush=True)
        finally:
            work.shutdown(cancel_futures=True)
            stop.set()
        killed = killer.result(60)
        staying.result(300)
    return built, killed, _left(bench), resident, time.monotonic() - began


def main() -> int:
    """Exit 0 when every build ended right or with its reason, and nothing is left."""
    arguments = _arguments()
    cluster = environment.load()
    if cluster is None:
        raise Trouble("the local cluster is not up: run `make cluster`")
    with (
        tempfile.TemporaryDirectory(prefix="kubectl-build-soak-") as temporary,
        owner.tests_lock(timeout_s=600),
        open_bench(cluster, Path(temporary)) as bench,
    ):
        built, killed, left, resident, seconds = _soak(bench, arguments)
    wrong = [found for found in built if found.wrong]
    reasons = Counter(found.reason for found in built if found.reason)
    rows = {
        "builds, each for two platforms in two pools": f"{len(built)} by {arguments.workers} workers in {seconds:.0f} s",
        "pods killed": str(killed),
        "succeeded": str(sum(not found.reason and not found.wrong for found in built)),
        "of these after another try": str(sum(found.tries > 1 and not found.reason for found in built)),
        "ended with a reason of the infrastructure": str(sum(reasons.values())),
        "wrong": str(len(wrong)),
        "median and longest build": f"{statistics.median(f.seconds for f in built):.1f} s, {max(f.seconds for f in built):.1f} s",
        "builds, their processes, Leases and pods left in the cluster": ", ".join(left) or "none",
        **resident.rows(),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    print(table)
    for reason, count in reasons.items():
        print(f"{count} x {reason}")
    head, _, rest = DOCUMENT.read_text().partition(_BEGIN)
    DOCUMENT.write_text(f"{head}{_BEGIN}\n| what | how much |\n| --- | --- |\n{table}\n{_END}{rest.partition(_END)[2]}")
    return 1 if wrong or left or resident.grew() else 0


if __name__ == "__main__":
    signals.restore()
    try:
        sys.exit(main())
    except Trouble as trouble:
        sys.exit(f"error: {trouble}")
