"""--check and --call: what they print is what docker buildx prints, asked of the same daemon."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from kubectl_build.buildkit.client import BuildkitClient, connect
from kubectl_build.buildkit.solve import Exporter, SolveJob, attached
from kubectl_build.buildkit.subrequest import CallResult, run_call
from kubectl_build.cli.call import show_call
from kubectl_build.errors import SolveError
from kubectl_build.model.events import BuildEvent, StatusUpdate
from kubectl_build.model.request import Call
from kubectl_build.session.filesync import FileSync, LocalDir
from kubectl_build.session.session import Session
from tests.integration.buildx import Buildx, buildx_on

pytestmark = pytest.mark.integration

CLEAN = 'FROM scratch\nCOPY . /\nCMD ["/a"]\n'
STAGES = """\
# a build argument of all stages
ARG VERSION=1.2
# base is what all stand on
FROM scratch AS base
ARG flavour
ARG LONG_NAME="a value"
FROM base AS tests
RUN --mount=type=secret,id=token,required=true --mount=type=secret,id=other --mount=type=ssh true
# final is what is delivered
FROM base AS final
COPY . /
"""
WARNED = 'FROM scratch as Base\nARG PASSWORD=x\nCOPY . /\nCMD echo \\\n  "ä" \\\n  two\n\nENTRYPOINT foo\n'
ONE_LINE = "FROM scratch\nCMD foo"
BROKEN = "FROM scratch\nCMD foo\nFROM nope-$x\n"


@pytest.fixture(scope="module")
def buildx(buildkitd: Path, tmp_path_factory: pytest.TempPathFactory) -> Buildx:
    return buildx_on(buildkitd, tmp_path_factory.mktemp("buildx"))


async def ask(client: BuildkitClient, context: Path, call: Call, events: list[BuildEvent], **attrs: str) -> CallResult:
    session = Session(shared_key="call", attachables=[FileSync({"context": LocalDir(context), "dockerfile": LocalDir(context)})])
    job = SolveJob(frontend="dockerfile.v0", attrs={"filename": "Dockerfile", **attrs}, exporters=(Exporter(type="image"),))
    async with attached(client, session):
        return await run_call(client, session, job, call, emit=events.append)


def method(call: Call) -> str:
    return f"{call.method}{',format=json' if call.as_json else ''}{',ignorestatus=true' if call.ignore_status else ''}"


CALLS = [
    Call(method="check"),
    Call(method="check", as_json=True),
    Call(method="check", ignore_status=True),
    Call(method="outline"),
    Call(method="outline", as_json=True),
    Call(method="targets"),
    Call(method="targets", as_json=True),
    Call(method="subrequests.describe"),
    Call(method="subrequests.describe", as_json=True),
]


@pytest.mark.parametrize("dockerfile", [CLEAN, STAGES, WARNED, ONE_LINE], ids=["clean", "stages", "warned", "one-line"])
async def test_call_prints_and_exits_as_buildx_does(buildkitd: Path, buildx: Buildx, tmp_path: Path, dockerfile: str) -> None:
    (tmp_path / "Dockerfile").write_text(dockerfile)
    async with connect(f"unix:{buildkitd}") as client:
        for call in CALLS:
            theirs = buildx("build", f"--call={method(call)}", str(tmp_path))
            out = io.StringIO()
            code = show_call(await ask(client, tmp_path, call, []), call, out=out, dockerfile=str(tmp_path / "Dockerfile"))
            assert code == theirs.returncode, method(call)
            if call.as_json:
                assert document(out.getvalue()) == document(theirs.stdout), method(call)
            else:
                assert out.getvalue() == theirs.stdout, method(call)


def document(text: str) -> Any:
    """An answer in JSON without the sources' definitions, which name the session."""
    read = json.loads(text)
    for source in read.get("sources") or () if isinstance(read, dict) else ():
        if isinstance(source, dict):
            del source["definition"]
    return read


async def test_check_of_a_dockerfile_that_cannot_be_built_prints_its_warnings_and_fails(buildkitd: Path, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(BROKEN)
    out = io.StringIO()
    async with connect(f"unix:{buildkitd}") as client:
        result = await ask(client, tmp_path, Call(method="check"), [])
    with pytest.raises(SolveError, match='failed to parse stage name "nope-"') as failure:
        show_call(result, Call(method="check", ignore_status=True), out=out)
    assert out.getvalue().count("WARNING: ") == 2
    assert [number for number, _, marked in failure.value.sources[0].lines if marked] == [3]


async def test_call_runs_no_step_and_leaves_no_trace(buildkitd: Path, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(STAGES)
    events: list[BuildEvent] = []
    async with connect(f"unix:{buildkitd}") as client:
        before = len(await client.history())
        await ask(client, tmp_path, Call(method="check"), events, platform="linux/amd64,linux/arm64")
        assert len(await client.history()) == before
    names = {vertex.name for event in events if isinstance(event, StatusUpdate) for vertex in event.vertexes}
    assert names
    assert all(name.startswith("[internal] ") for name in names), names


async def test_call_that_no_frontend_knows_is_told_in_words(buildkitd: Path, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(CLEAN)
    async with connect(f"unix:{buildkitd}") as client:
        with pytest.raises(SolveError, match=r"does not know the request frontend\.poem"):
            await ask(client, tmp_path, Call(method="poem"), [])
