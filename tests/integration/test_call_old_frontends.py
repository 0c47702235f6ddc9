"""--check and --call of frontends that do not know what is asked: a newer one is asked, or that is told in words."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from kubectl_build.buildkit.client import connect
from kubectl_build.errors import SolveError
from kubectl_build.model.request import Call
from kubectl_build.proto import gateway_pb2, status_pb2
from tests.integration.buildx import buildx_on
from tests.integration.test_call import CLEAN, ask
from tests.parity_requests.manners import Manners
from tests.parity_requests.manners import ask as ask_manners
from tests.parity_requests.recorder import Recorder, serve

pytestmark = pytest.mark.integration

NEWER = "build-arg:BUILDKIT_SYNTAX"


class OldFrontend(Recorder):
    """A daemon whose own frontend refuses requests; one that BUILDKIT_SYNTAX names answers them. `asked` are all options it was given."""

    def __init__(self, manners: Manners, *, newer_answers: bool, typed: bool = True) -> None:
        super().__init__(manners)
        self.asked: list[dict[str, str]] = []
        self._newer_answers = newer_answers
        self._typed = typed

    async def _gateway_solve(self, request: gateway_pb2.SolveRequest, context: Any) -> Any:
        options = dict(request.FrontendOpt)
        self.asked.append(options)
        if NEWER in options and self._newer_answers:
            return await super()._gateway_solve(request, context)
        if NEWER in options:
            await context.abort(grpc.StatusCode.UNKNOWN, "failed to resolve source metadata for docker.io/docker/dockerfile")
        message = f"unsupported request {options['requestid']}"
        status = status_pb2.Status(code=2, message=message)
        if self._typed:
            value = json.dumps({"name": options["requestid"]}).encode()
            status.details.append(AnyMessage(type_url="github.com/moby/buildkit/errdefs.Subrequest+json", value=value))
        return await context.abort(grpc.StatusCode.UNKNOWN, message, (("grpc-status-details-bin", status.SerializeToString()),))


class NoRequests(Recorder):
    """A daemon whose frontend knows no requests at all, and builds. `results` are those that the client handed back."""

    def __init__(self, manners: Manners) -> None:
        super().__init__(manners)
        self.results: list[gateway_pb2.Result] = []

    async def _gateway_solve(self, request: gateway_pb2.SolveRequest, context: Any) -> Any:
        del request.FrontendOpt["requestid"]
        return await super()._gateway_solve(request, context)

    async def _return(self, request: Any, context: Any) -> Any:
        self.results.append(request.result)
        return await super()._return(request, context)


@pytest.fixture
async def manners(buildkitd: Path) -> Manners:
    return await ask_manners(buildkitd)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    directory = tmp_path / "context"
    directory.mkdir()
    (directory / "Dockerfile").write_text(CLEAN)
    return directory


@pytest.mark.parametrize("typed", [True, False], ids=["typed", "text"])
@pytest.mark.parametrize("method", ["check", "outline", "targets"])
async def test_call_of_an_old_frontend_asks_the_one_that_buildx_asks(
    manners: Manners, context: Path, tmp_path: Path, method: str, typed: bool
) -> None:
    socket = tmp_path / "daemon.sock"
    theirs, ours = (OldFrontend(manners, newer_answers=True, typed=typed) for _ in range(2))
    async with serve(theirs, socket):
        said = await asyncio.to_thread(lambda: buildx_on(socket, tmp_path / "buildx")("build", f"--call={method}", str(context)))
    async with serve(ours, tmp_path / "ours.sock"), connect(f"unix:{tmp_path / 'ours.sock'}") as client:
        await ask(client, context, Call(method=method), [])

    assert said.returncode == 0, said.stderr
    questions = ("requestid", "frontend.caps", NEWER)
    assert [{name: options.get(name) for name in questions} for options in ours.asked] == [
        {name: options.get(name) for name in questions} for options in theirs.asked
    ]
    assert [NEWER in options for options in ours.asked] == [False, True]


async def test_call_of_an_old_frontend_without_a_newer_one_is_told_in_words(manners: Manners, context: Path, tmp_path: Path) -> None:
    daemon = OldFrontend(manners, newer_answers=False)
    async with serve(daemon, tmp_path / "daemon.sock"), connect(f"unix:{tmp_path / 'daemon.sock'}") as client:
        with pytest.raises(SolveError, match=r"frontend does not know the request frontend\.lint$") as failure:
            await ask(client, context, Call(method="check"), [])
    assert failure.value.hint is not None
    assert "# syntax=docker/dockerfile:1" in failure.value.hint


async def test_call_of_a_frontend_that_builds_instead_runs_nothing(manners: Manners, context: Path, tmp_path: Path) -> None:
    daemon = NoRequests(manners)
    async with serve(daemon, tmp_path / "daemon.sock"), connect(f"unix:{tmp_path / 'daemon.sock'}") as client:
        with pytest.raises(SolveError, match=r"frontend does not know the request frontend\.poem"):
            await ask(client, context, Call(method="poem"), [])
    assert daemon.results
    assert not any(result.WhichOneof("result") for result in daemon.results)
