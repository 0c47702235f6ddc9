"""The frontend's warnings, while a build runs and after it, beside those that docker buildx shows of the same build."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from kubectl_build.buildkit.client import connect
from kubectl_build.buildkit.solve import SolveJob, attached, run_solve
from kubectl_build.progress.display import Mode, open_display
from kubectl_build.proto import gateway_pb2
from kubectl_build.session.filesync import FileSync, LocalDir
from kubectl_build.session.session import Session
from tests.integration.buildx import Buildx, buildx_on

pytestmark = pytest.mark.integration

DOCKERFILE = (
    'FROM scratch AS Base\n\n# why\nARG PASSWORD=x\nCOPY Dockerfile /\nCMD echo \\\n  "ä" \\\n  two\nfrom base\nCOPY Dockerfile /\n'
)


@pytest.fixture(scope="module")
def buildx(buildkitd: Path, tmp_path_factory: pytest.TempPathFactory) -> Buildx:
    return buildx_on(buildkitd, tmp_path_factory.mktemp("buildx"))


async def ours(socket: Path, context: Path, mode: Mode, *, details: bool = False) -> str:
    """What is shown of a build of two platforms, the frontend asked twice as planning does."""
    stream = io.StringIO()
    session = Session(shared_key="warnings", attachables=[FileSync({"context": LocalDir(context), "dockerfile": LocalDir(context)})])
    job = SolveJob(frontend="dockerfile.v0", attrs={"filename": "Dockerfile", "platform": "linux/amd64,linux/arm64"})

    async def planned(result: gateway_pb2.Result) -> bool:
        return False

    async def built(result: gateway_pb2.Result) -> bool:
        return True

    async with (
        connect(f"unix:{socket}") as client,
        open_display(mode, stream, environ={}, details=details) as display,
        attached(client, session),
    ):
        await run_solve(client, session, job, check=planned, emit=display.update)
        await run_solve(client, session, job, check=built, emit=display.update, pool="amd64")
    return stream.getvalue()


def listed(text: str) -> list[str]:
    """The block at the end, in any order as buildx has it, with each warning whole, and our option's name for theirs."""
    block = re.sub(r"\x1b\[[0-9;]*m", "", text[re.search(r"\n \S*\d+ warnings? found", text).start() :])  # type: ignore[union-attr]
    head, *rest = re.split(r"\n(?= - )", block.replace("use docker --debug", "use --debug"))
    return [head, *sorted(f"{one.rstrip()}\n" for one in rest)]


async def test_warnings_after_a_build_are_those_of_buildx(buildkitd: Path, buildx: Buildx, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    theirs = buildx("build", "--progress=plain", "--platform=linux/amd64,linux/arm64", str(tmp_path)).stderr

    assert listed(await ours(buildkitd, tmp_path, "plain")) == listed(theirs)
    assert listed(theirs)[0].endswith("warnings found (use --debug to expand):")


async def test_warnings_in_full_are_those_of_buildx_with_debug(buildkitd: Path, buildx: Buildx, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    theirs = buildx("--debug", "build", "--progress=plain", "--platform=linux/amd64,linux/arm64", str(tmp_path)).stderr

    assert listed(await ours(buildkitd, tmp_path, "plain", details=True)) == listed(theirs)


async def test_warnings_while_a_build_runs_are_those_of_buildx(buildkitd: Path, buildx: Buildx, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    theirs = buildx("build", "--progress=plain", str(tmp_path)).stderr
    said = re.findall(r"^#\d+ WARN: (.*)$", theirs, re.MULTILINE)

    assert said
    assert set(re.findall(r"^#\d+ WARN: (.*)$", await ours(buildkitd, tmp_path, "plain"), re.MULTILINE)) == set(said)


async def test_warnings_of_rawjson_are_those_of_buildx(buildkitd: Path, buildx: Buildx, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    theirs = buildx("build", "--progress=rawjson", str(tmp_path)).stderr

    assert warnings(await ours(buildkitd, tmp_path, "rawjson")) == warnings(theirs)


def warnings(text: str) -> dict[str, Any]:
    """The warnings of a build in rawjson, without what names the build."""
    found = {}
    for line in text.splitlines():
        for warning in json.loads(line).get("warnings", ()) if line.startswith("{") else ():
            warning.pop("vertex")
            warning.get("sourceInfo", {}).pop("definition", None)
            found[warning["short"]] = warning
    assert found, text
    return found


async def test_warnings_are_not_told_by_quiet(buildkitd: Path, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)

    assert await ours(buildkitd, tmp_path, "quiet") == ""
