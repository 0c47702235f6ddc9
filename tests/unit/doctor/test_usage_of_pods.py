"""du, prune and doctor as commands over several pods: every daemon is asked, and one that does not answer is told at the end."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from kubectl_build.proto import control_pb2
from tests.fakes.daemon import FakeDaemon
from tests.fakes.serving import serving
from tests.unit.doctor.conftest import Ward

MakeDaemon = Callable[..., Awaitable[FakeDaemon]]
Run = Callable[..., Awaitable["Ended"]]

_MAIN = "from kubectl_build.cli.main import buildkit_main; buildkit_main()"


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """stdout as JSON."""
        return json.loads(self.out)


@pytest.fixture
def run(ward: Ward) -> Run:
    """Runs the command line in a process, against the cluster of the ward."""
    kubeconfig = ward.folder / "kubeconfig"
    cluster = {"name": "fake", "cluster": {"server": ward.api.url}}
    context = {"name": "fake", "context": {"cluster": "fake", "user": ""}}
    kubeconfig.write_text(json.dumps({"clusters": [cluster], "contexts": [context], "current-context": "fake"}))
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH") if name in os.environ}
    environ = {**kept, "KUBECONFIG": str(kubeconfig), "HOME": str(ward.folder)}

    async def go(*argv: str, stdin: int = asyncio.subprocess.DEVNULL) -> Ended:
        pipe = asyncio.subprocess.PIPE
        command = [sys.executable, "-c", _MAIN, *argv]
        process = await asyncio.create_subprocess_exec(*command, env=environ, stdin=stdin, stdout=pipe, stderr=pipe)
        out, err = await asyncio.wait_for(process.communicate(), 30)
        return Ended(process.returncode or 0, out.decode(), err.decode())

    return go


async def test_du_lists_the_caches_of_all_pods_with_their_sums(ward: Ward, daemon: MakeDaemon, run: Run) -> None:
    (await daemon()).entry("one", 1_500_000, Mutable=True)
    (await daemon(architecture="arm64")).entry("two", 500_000, InUse=True)
    done = await run("du")
    assert (done.code, done.err) == (0, "")
    header, *rows, reclaimable, total = [line.split() for line in done.out.splitlines()]
    assert header == ["ID", "RECLAIMABLE", "SIZE", "LAST", "ACCESSED", "POD"]
    assert sorted(rows) == [["one*", "true", "1.5MB", "-", "buildkit-amd64-0"], ["two", "false", "500kB", "-", "buildkit-arm64-0"]]
    assert (reclaimable, total) == (["Reclaimable:", "1.5MB"], ["Total:", "2MB"])


async def test_du_sends_the_filter_to_every_daemon(ward: Ward, daemon: MakeDaemon, run: Run) -> None:
    daemons = [await daemon(), await daemon(architecture="arm64")]
    assert (await run("du", "--filter", "type=regular", "--filter", "until=1h", "-o", "json")).code == 0
    wanted = control_pb2.DiskUsageRequest(filter=["type==regular"], ageLimit=3600 * 10**9)
    assert [found.asked for found in daemons] == [[wanted], [wanted]]


async def test_prune_deletes_in_all_pods_by_the_limits_given(ward: Ward, daemon: MakeDaemon, run: Run) -> None:
    daemons = [await daemon(), await daemon(architecture="arm64")]
    for number, found in enumerate(daemons):
        found.entry(f"free-{number}", 1000)
        found.entry(f"busy-{number}", 1000, InUse=True)
    limits = "--max-used-space=1gb", "--min-free-space=2gb", "--reserved-space=3gb"
    done = await run("prune", "--force", "--all", *limits)
    assert (done.code, done.err) == (0, "")
    assert "Total: 2kB" in done.out.splitlines()
    assert [[record.ID for record in found.records] for found in daemons] == [["busy-0"], ["busy-1"]]
    wanted = control_pb2.PruneRequest(all=True, maxUsedSpace=1 << 30, minFreeSpace=2 << 30, reservedSpace=3 << 30)
    assert [found.asked for found in daemons] == [[wanted], [wanted]]


async def test_prune_without_force_deletes_nothing_where_nobody_can_be_asked(ward: Ward, daemon: MakeDaemon, run: Run) -> None:
    found = await daemon()
    found.entry("kept", 1)
    done = await run("prune")
    assert done.code == 2
    assert "--force" in done.err
    assert (found.asked, len(found.records)) == ([], 1)


@pytest.mark.parametrize(("answer", "left", "code"), [("y\n", 0, 0), ("n\n", 1, 0), ("\n", 1, 0), ("\x04", 1, 130)])
async def test_prune_on_a_terminal_asks_and_goes_by_the_answer(
    ward: Ward, daemon: MakeDaemon, run: Run, answer: str, left: int, code: int
) -> None:
    found = await daemon()
    found.entry("one", 1)
    ours, theirs = os.openpty()
    try:
        os.write(ours, answer.encode())
        done = await run("prune", "--all", stdin=theirs)
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.code == code
    assert "WARNING! This will remove all build cache" in done.err
    assert len(found.records) == left


async def test_pod_that_does_not_answer_is_told_after_the_others_are_done(ward: Ward, daemon: MakeDaemon, run: Run) -> None:
    found = await daemon()
    found.entry("gone", 1000)
    ward.builder(architecture="arm64", ready=False)
    done = await run("prune", "--force", "-o", "json")
    assert done.code == 4
    assert "1 of 2 pods" in done.err
    assert "buildkit-arm64-0" in done.err
    assert found.records == []
    first, second = done.json()["pods"]
    assert [record["id"] for record in first["records"]] == ["gone"]
    assert "not ready" in second["error"]
    assert done.json()["totals"]["total"] == 1000


async def test_daemon_that_never_answers_costs_no_more_than_the_timeout(ward: Ward, daemon: MakeDaemon, run: Run) -> None:
    (await daemon()).entry("one", 1000)
    ward.builder(architecture="arm64")
    left = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    silent = FakeDaemon(ward.folder / "silent.sock")
    ward.daemons["buildkit-arm64-0"] = silent
    async with serving(say_nothing, silent.socket):
        done = await run("du", "--timeout=1s")
        await left.wait()
    assert done.code == 4
    assert "buildkit-arm64-0: connecting took longer than 1 s" in done.err
    assert "buildkit-amd64-0" in done.out


async def test_old_daemon_is_not_pruned_with_limits_that_it_would_ignore(ward: Ward, daemon: MakeDaemon, run: Run) -> None:
    found = await daemon(version="v0.16.0")
    found.entry("kept", 1)
    done = await run("prune", "--force", "--max-used-space=1gb")
    assert done.code == 2
    assert "v0.17.0" in done.err
    assert (found.asked, done.out) == ([], "")


async def test_filter_that_the_daemon_refuses_is_the_users_error(ward: Ward, daemon: MakeDaemon, run: Run) -> None:
    await daemon(refusal="failed to parse prune filters [id~=(]: invalid filter")
    done = await run("du", "--filter", "id=(")
    assert done.code == 2
    assert "id~=(" in done.err


@pytest.mark.parametrize("command", ["du", "prune"])
async def test_builder_that_is_not_there_or_has_no_pod_is_said(ward: Ward, run: Run, command: str) -> None:
    flags = ("--force",) if command == "prune" else ()
    missing = await run(command, "--builder=nobody", *flags)
    assert (missing.code, missing.out) == (4, "")
    assert 'no builder "nobody"' in missing.err


async def test_doctor_prints_findings_with_commands_and_exits_with_1_for_a_problem(ward: Ward, daemon: MakeDaemon, run: Run) -> None:
    await daemon()
    well = await run("doctor")
    assert well.code == 0, well.out
    assert "nothing prevents building" in well.err
    ward.api.allowed = lambda asked: asked["subresource"] != "exec"
    ill = await run("doctor")
    assert ill.code == 1
    assert "1 problem prevents building" in ill.err
    lines = ill.out.splitlines()
    at = lines.index('problem  you may not get pods/exec in namespace "default"')
    assert lines[at + 1] == "         no daemon can be reached; the Role kubectl-build of manifests/ has the right"
    assert lines[at + 2].startswith("         $ kubectl create rolebinding kubectl-build ")


async def test_doctor_writes_every_finding_as_json(ward: Ward, run: Run) -> None:
    done = await run("doctor", "team", "-o", "json")
    document = done.json()
    assert (done.code, document["builder"], document["preventsBuilding"]) == (0, "team", False)
    assert {finding["check"] for finding in document["findings"]} >= {"context", "api server", "rights", "namespace", "nodes", "pods"}
    assert all(set(finding) == {"check", "level", "finding", "consequence", "command"} for finding in document["findings"])


async def test_doctor_of_a_cluster_that_does_not_answer_says_that_alone(ward: Ward, run: Run) -> None:
    done = await run("doctor", "--server=http://127.0.0.1:1", "-o", "json")
    assert done.code == 1
    assert {finding["check"] for finding in done.json()["findings"]} == {"api server", "proxies"}


async def test_daemon_at_an_address_is_examined_without_a_cluster(ward: Ward, daemon: MakeDaemon, run: Run) -> None:
    found = await daemon()
    found.entry("one", 1000)
    address = f"unix://{found.socket}"
    assert "Total:        1kB" in (await run("du", "--builder", address)).out
    done = await run("doctor", address, "-o", "json")
    assert done.code == 0, done.out
    assert {finding["check"] for finding in done.json()["findings"]} == {"daemons", "emulators", "disks", "registries", "proxies"}
