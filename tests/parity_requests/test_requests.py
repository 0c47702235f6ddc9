"""Each option of `docker buildx build` reaches the daemon from `kubectl build` as it does from buildx."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

import pytest

from tests.cluster import tools
from tests.parity_requests import manners
from tests.parity_requests.cases import CASES, Case, populate, prepare
from tests.parity_requests.clients import Outcome, run_buildx, run_ours
from tests.parity_requests.differences import meant

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]  # the first test runs every case, and may build buildx before

_AT_ONCE = 3

_WITHOUT_CASE = {
    "--builder": "both clients are given their daemon by it in every case",
    "--debug": "is about the client's own log",
    "--help": "builds nothing",
    "--load": "loads into an image store beside the client, and a cluster has none: it is refused in words",
    "--policy": "policies are refused in words",
}

_SHORT = {"-f": "--file", "-o": "--output", "-q": "--quiet", "-t": "--tag"}

Outcomes = dict[str, tuple[Outcome, Outcome]]


@pytest.fixture(scope="module")
def buildx() -> Path:
    return tools.ensure(["buildx"])["buildx"]


@pytest.fixture(scope="module")
def outcomes(buildkitd: Path, buildx: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """How both clients ended in every case, by the case's name: buildx first."""
    root = tmp_path_factory.mktemp("told")
    prepare(root / "template")

    async def run() -> Outcomes:
        real = await manners.ask(buildkitd)
        slots = asyncio.Semaphore(_AT_ONCE)

        async def both(case: Case) -> tuple[Outcome, Outcome]:
            async with slots:
                theirs, ours = root / f"b-{case.name}", root / f"k-{case.name}"
                for directory in (theirs, ours):
                    await asyncio.to_thread(populate, directory, root / "template")
                return (
                    await run_buildx(buildx, case.arguments(theirs), theirs, case.variables(theirs), case.stdin, real),
                    await run_ours([*case.only_ours.split(), *case.arguments(ours)], ours, case.variables(ours), case.stdin, real),
                )

        async with asyncio.TaskGroup() as group:
            tasks = {case.name: group.create_task(both(case)) for case in CASES}
        return {name: task.result() for name, task in tasks.items()}

    return asyncio.run(run())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_build_tells_the_daemon_what_buildx_tells_it(case: Case, outcomes: Outcomes) -> None:
    theirs, ours = outcomes[case.name]

    assert theirs.code == 0, theirs.output
    assert theirs.told is not None, theirs.output
    assert ours.code == 0, ours.output
    assert ours.told == meant(case, theirs.told), ours.output


def test_options_of_buildx_have_a_case_each(buildx: Path) -> None:
    text = subprocess.run([buildx, "build", "--help"], capture_output=True, text=True, check=True).stdout
    options = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", text, re.MULTILINE))
    words = [word.partition("=")[0] for case in CASES for word in (*case.words.split(), *case.more)]
    used = {_SHORT.get(word, word) for word in words}

    assert len(options) > 30
    assert options - used == set(_WITHOUT_CASE)
