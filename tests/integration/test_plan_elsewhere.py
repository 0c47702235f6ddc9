"""A daemon asked as a daemon of another architecture: what the frontend answers then is what decides where a platform is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from kubectl_build.buildkit.attrs import plan_job
from kubectl_build.buildkit.client import connect
from kubectl_build.buildkit.llb import result_needs
from kubectl_build.buildkit.solve import Exporter, SolveJob, attached, run_solve
from kubectl_build.model.inputs import Dockerfile, LocalContext
from kubectl_build.model.platform import Platform
from kubectl_build.model.request import BuildRequest
from kubectl_build.proto import gateway_pb2
from kubectl_build.session.filesync import FileSync, LocalDir
from kubectl_build.session.session import Session
from tests.cluster import tools
from tests.cluster.registries import Kind, run_registry
from tests.integration.test_registry import free_address

pytestmark = pytest.mark.integration

AMD64, ARM64, S390X = Platform("linux", "amd64"), Platform("linux", "arm64"), Platform("linux", "s390x")
STAGES = """\
FROM --platform=$BUILDPLATFORM {base} AS build
RUN ["/program"]
FROM --platform=linux/amd64 {base} AS named
RUN ["/program"]
FROM {base} AS own
RUN ["/program"]
FROM build AS chosen-by-amd64
FROM own AS chosen-by-arm64
FROM chosen-by-$BUILDARCH AS chosen
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    binary = tools.ensure(["docker-registry"])["docker-registry"]
    address = free_address()
    with run_registry(Kind.INSECURE, tmp_path_factory.mktemp("registry"), address, binary=binary):
        yield address


@pytest.fixture
async def base(buildkitd: Path, registry: str, tmp_path: Path) -> str:
    """A base image for four platforms: of `FROM scratch` the frontend takes no platform."""
    context = tmp_path / "base"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /program\n")
    name = f"{registry}/base:v1"
    exporter = Exporter(type="image", attrs={"name": name, "push": "true", "registry.insecure": "true"})
    attrs = {"filename": "Dockerfile", "platform": "linux/amd64,linux/386,linux/arm64,linux/s390x"}

    async def check(result: gateway_pb2.Result) -> bool:
        return True

    async with connect(f"unix:{buildkitd}") as client, attached(client, session := serving(context)):
        job = SolveJob(frontend="dockerfile.v0", attrs=attrs, exporters=(exporter,))
        await run_solve(client, session, job, check=check, emit=lambda event: None)
    return name


def serving(context: Path) -> Session:
    return Session(shared_key="elsewhere", attachables=[FileSync({"context": LocalDir(context), "dockerfile": LocalDir(context)})])


async def commands(
    socket: Path, context: Path, base: str, target: str, *, elsewhere: Platform | None = None, build_args: Mapping[str, str] | None = None
) -> set[Platform]:
    """The platforms of the commands of one stage, built for s390x."""
    (context / "Dockerfile").write_text(STAGES.format(base=base))
    request = BuildRequest(
        context=LocalContext(context), dockerfile=Dockerfile(directory=context), target=target, build_args=build_args or {}
    )
    found: set[Platform] = set()

    async def check(result: gateway_pb2.Result) -> bool:
        found.update(result_needs(result, (S390X,), elsewhere or AMD64)[S390X].execs)
        return False

    async with connect(f"unix:{socket}") as client, attached(client, session := serving(context)):
        await run_solve(client, session, plan_job(request, (S390X,), build_platform=elsewhere), check=check, emit=lambda event: None)
    return found


@pytest.mark.parametrize(
    ("target", "here", "there"),
    [
        ("build", {AMD64}, {ARM64}),
        ("named", {AMD64}, {AMD64}),
        ("own", {S390X}, {S390X}),
        ("chosen", {AMD64}, {S390X}),
    ],
)
async def test_frontend_asked_as_another_daemon_answers_as_that_one(
    buildkitd: Path, base: str, tmp_path: Path, target: str, here: set[Platform], there: set[Platform]
) -> None:
    assert await commands(buildkitd, tmp_path, base, target) == here
    assert await commands(buildkitd, tmp_path, base, target, elsewhere=ARM64) == there


async def test_frontend_asked_as_another_daemon_keeps_what_the_user_says(buildkitd: Path, base: str, tmp_path: Path) -> None:
    said = {"BUILDPLATFORM": "linux/386"}

    assert await commands(buildkitd, tmp_path, base, "build", elsewhere=ARM64, build_args=said) == {Platform("linux", "386")}
