"""The whole of a build against a real buildkitd, with a fake API server whose exec reaches it: no cluster is needed."""

from __future__ import annotations

import asyncio
import json
import os
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from kubectl_build.builder.manifests import render
from kubectl_build.builder.spec import BuilderSpec
from kubectl_build.cluster.client import KubeClient, open_client
from kubectl_build.cluster.resources import CONFIGMAPS, NODES, PODS, STATEFULSETS
from kubectl_build.errors import ConfigError, ConnectionLost, RegistryError, SolveError, UsageError
from kubectl_build.model.events import BuildEvent, Note, Sending, StatusUpdate
from kubectl_build.model.inputs import Dockerfile, LocalContext
from kubectl_build.model.json import JsonObject
from kubectl_build.model.platform import Platform
from kubectl_build.model.reference import parse_reference
from kubectl_build.model.request import BuildRequest, Emulation, Output, OutputType
from kubectl_build.pipeline import build, plan_only
from kubectl_build.session import filesync
from tests.cluster import tools
from tests.fakes.kube_api import FakeKubeApi, open_fake_kube_api
from tests.fakes.kube_exec import ExecCall, local_process

pytestmark = pytest.mark.integration

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")


@dataclass
class Bench:
    """A fake cluster with one builder whose pod is a real daemon; `events` are all that a build has emitted."""

    api: FakeKubeApi
    kube: KubeClient
    context: Path
    events: list[BuildEvent] = field(default_factory=list)

    def request(self, dockerfile: str, **changes: object) -> BuildRequest:
        (self.context / "Dockerfile").write_text(dockerfile)
        return replace(BuildRequest(context=LocalContext(self.context), dockerfile=Dockerfile(directory=self.context)), **changes)  # type: ignore[arg-type]  # fields by name

    def notes(self) -> str:
        return "\n".join(event.text for event in self.events if isinstance(event, Note))

    def steps(self) -> set[str]:
        return {v.name for event in self.events if isinstance(event, StatusUpdate) for v in event.vertexes}


def node(name: str, architecture: str) -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/arch": architecture, "kubernetes.io/os": "linux"}},
        "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"architecture": architecture}},
    }


def add_builder(api: FakeKubeApi, *architectures: str) -> None:
    manifests = render("buildkit", "default", BuilderSpec(), architectures)
    api.add(CONFIGMAPS, manifests.config_map)
    for architecture, stateful_set in manifests.stateful_sets.items():
        api.add(STATEFULSETS, stateful_set)
        template = stateful_set["spec"]["template"]
        status = {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "buildkitd", "restartCount": 0, "state": {"running": {}}}],
        }
        metadata = {**template["metadata"], "name": f"buildkit-{architecture}-0", "namespace": "default"}
        spec = {**template["spec"], "nodeName": f"{architecture}-0"}
        api.add(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status})


@pytest.fixture
async def bench(buildkitd: Path, tmp_path: Path) -> AsyncIterator[Bench]:
    buildctl = str(tools.ensure(["buildctl"])["buildctl"])

    async def run(call: ExecCall) -> int | None:
        if call.command[:2] == ["buildctl", "dial-stdio"]:
            call.command = [buildctl, "--addr", f"unix://{buildkitd}", "dial-stdio"]
        return await local_process(call)

    context = tmp_path / "ctx"
    context.mkdir()
    async with open_fake_kube_api() as api:
        api.exec_handler = run
        api.add(NODES, node("amd64-0", "amd64"))
        add_builder(api, "amd64")
        async with open_client(api.connection()) as kube:
            yield Bench(api=api, kube=kube, context=context)


async def test_context_is_told_with_all_its_bytes_as_the_daemon_counts_them(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesync, "_TELL_INTERVAL", 0)
    for number in range(300):
        (bench.context / f"f{number}").write_bytes(os.urandom(500))

    async def built(name: str) -> tuple[int, int]:
        """What was told last of a build with a new file that comes last, and what the daemon has counted in the end."""
        (bench.context / name).write_bytes(os.urandom(5_000_000))
        bench.events.clear()
        await build(bench.request("FROM scratch\nCOPY . /\n"), bench.kube, emit=bench.events.append, environ={})
        told = [event.expected for event in bench.events if isinstance(event, Sending) and event.name == "context" and event.expected]
        parts = [s for event in bench.events if isinstance(event, StatusUpdate) for s in event.statuses]
        return told[-1], max(part.current for part in parts if part.id == "transferring context:")

    for name in ("x1", "x2"):
        expected, sent = await built(name)
        assert 0.98 * sent <= expected <= 1.02 * sent, name
        assert sent > 5_000_000


async def test_build_of_two_platforms_on_one_pool_writes_a_tree_for_each(bench: Bench, tmp_path: Path) -> None:
    (bench.context / "hello").write_text("hello\n")
    out = tmp_path / "out"
    request = bench.request(
        "FROM scratch\nCOPY hello /\n", platforms=(AMD64, ARM64), outputs=(Output(type=OutputType.LOCAL, dest=str(out)),)
    )

    result = await build(request, bench.kube, emit=bench.events.append, environ={})

    assert {str(p.relative_to(out)): p.read_text() for p in out.rglob("hello")} == {
        "linux_amd64/hello": "hello\n",
        "linux_arm64/hello": "hello\n",
    }
    assert [(str(p.platform), p.mode, p.pool, p.node, p.pod) for p in result.places] == [
        ("linux/amd64", "native", "amd64", "amd64-0", "buildkit-amd64-0"),
        ("linux/arm64", "cross", "amd64", "amd64-0", "buildkit-amd64-0"),
    ]
    assert "linux/arm64  cross   amd64" in bench.notes()


async def test_build_with_oci_output_writes_a_layout_whose_digest_is_told(bench: Bench, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    output = Output(type=OutputType.OCI, dest=str(archive))
    request = bench.request("FROM scratch\nCOPY Dockerfile /\n", outputs=(output,), labels={"a": "b"})

    result = await build(request, bench.kube, emit=bench.events.append, environ={})

    with tarfile.open(archive) as tar:
        index = json.load(tar.extractfile("index.json") or pytest.fail("no index"))
    assert index["manifests"][0]["digest"] == result.digest
    assert result.image_id == result.metadata["containerimage.config.digest"]


async def test_build_with_tag_and_no_output_keeps_the_image_in_the_builder(bench: Bench) -> None:
    request = bench.request("FROM scratch\nCOPY Dockerfile /\n", tags=(parse_reference("reg.invalid/app:1"),))

    result = await build(request, bench.kube, emit=bench.events.append, environ={})

    assert result.digest.startswith("sha256:")
    assert result.pushed == ()
    assert "exporting to image" in bench.steps()


async def test_build_whose_step_fails_tells_step_lines_and_exit_code_1(bench: Bench) -> None:
    with pytest.raises(SolveError) as caught:
        await build(
            bench.request('FROM scratch\nCOPY Dockerfile /\nRUN ["/Dockerfile"]\n'), bench.kube, emit=bench.events.append, environ={}
        )

    assert caught.value.exit_code == 1
    assert [(number, text, marked) for number, text, marked in caught.value.sources[0].lines if marked] == [
        (3, 'RUN ["/Dockerfile"]', True)
    ]


async def test_build_whose_dockerfile_is_wrong_points_at_the_line(bench: Bench) -> None:
    with pytest.raises(SolveError, match="unknown instruction: NOPE") as caught:
        await build(bench.request("FROM scratch\nNOPE\n"), bench.kube, emit=bench.events.append, environ={})

    assert caught.value.sources[0].lines[1] == (2, "NOPE", True)


async def test_build_whose_exporter_is_refused_tells_the_daemons_reason_at_once(bench: Bench, tmp_path: Path) -> None:
    """The daemon never knows such a build, so its status and its gateway say nothing but that."""
    output = Output(type=OutputType.OCI, attrs={"compression": "nonsense"}, dest=str(tmp_path / "o.tar"))

    with pytest.raises(SolveError, match="nonsense"):
        await asyncio.wait_for(
            build(bench.request("FROM scratch\n", outputs=(output,)), bench.kube, emit=bench.events.append, environ={}), 3
        )
    assert "trying again" not in bench.notes()


async def test_build_with_a_run_for_windows_is_refused_before_any_step(bench: Bench) -> None:
    request = bench.request('FROM scratch\nCOPY Dockerfile /\nRUN ["/x"]\n', platforms=(Platform("windows", "amd64"),))

    with pytest.raises(UsageError, match="a RUN for windows/amd64 cannot be executed"):
        await build(request, bench.kube, emit=bench.events.append, environ={})
    assert not any("COPY" in step for step in bench.steps())


async def test_build_that_needs_emulation_is_refused_when_it_is_forbidden(bench: Bench) -> None:
    request = bench.request(
        'FROM scratch\nCOPY Dockerfile /\nRUN ["/x"]\n', platforms=(Platform("linux", "s390x"),), emulation=Emulation.NEVER
    )

    with pytest.raises(UsageError, match="platform linux/s390x cannot be built without emulation"):
        await build(request, bench.kube, emit=bench.events.append, environ={})
    assert not any("COPY" in step for step in bench.steps())


async def test_build_that_pushes_to_a_closed_port_is_a_registry_error(bench: Bench) -> None:
    request = bench.request(
        "FROM scratch\nCOPY Dockerfile /\n",
        tags=(parse_reference("127.0.0.1:1/app:1"),),
        outputs=(Output(type=OutputType.IMAGE, attrs={"push": "true"}),),
    )

    with pytest.raises(RegistryError, match="connection refused"):
        await build(request, bench.kube, emit=bench.events.append, environ={})


async def test_build_with_a_named_secret_that_is_missing_ends_before_the_builder_is_asked(bench: Bench) -> None:
    request = bench.request("FROM scratch\n", registry_secrets=("nope",))

    with pytest.raises(ConfigError, match="nope"):
        await build(request, bench.kube, emit=bench.events.append, environ={})
    assert not any("exec" in request.path for request in bench.api.requests)


async def test_build_with_a_missing_secret_and_no_right_to_list_pods_tells_of_the_secret_that_was_named(bench: Bench) -> None:
    bench.api.fail("GET", "/pods", 403)
    bench.api.fail("GET", "/nodes", 403)

    with pytest.raises(ConfigError, match="nope"):
        await build(bench.request("FROM scratch\n", registry_secrets=("nope",)), bench.kube, emit=bench.events.append, environ={})


async def test_build_from_an_unchanged_context_sends_no_bytes_of_files_again(bench: Bench) -> None:
    (bench.context / "big").write_bytes(b"x" * 3_000_000)
    request = bench.request("FROM scratch\nCOPY big /\n")
    await build(request, bench.kube, emit=bench.events.append, environ={})
    first = sent_bytes(bench.events)
    again: list[BuildEvent] = []

    await build(request, bench.kube, emit=again.append, environ={})

    assert first > 3_000_000
    assert sent_bytes(again) < 10_000


def sent_bytes(events: list[BuildEvent]) -> int:
    """The most that one transfer of the context reported."""
    names = {v.digest for e in events if isinstance(e, StatusUpdate) for v in e.vertexes if v.name == "[internal] load build context"}
    return max((s.current for e in events if isinstance(e, StatusUpdate) for s in e.statuses if s.vertex in names), default=0)


async def test_build_whose_pod_dies_tells_the_pods_own_reason(bench: Bench) -> None:
    """The stream breaks in the middle of a build; what the API server says of the pod comes at the same time, and wins."""
    serve = bench.api.exec_handler
    assert serve is not None

    async def die(call: ExecCall) -> int | None:
        read, seen = call.read, 0

        async def counted() -> bytes:
            nonlocal seen
            data = await read()
            seen += len(data)
            if seen > 4000:
                pod = bench.api.find(PODS, "buildkit-amd64-0")
                assert pod is not None
                killed = {"name": "buildkitd", "restartCount": 0, "state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}
                bench.api.add(PODS, {**pod, "status": {**pod["status"], "containerStatuses": [killed]}})
                return b""
            return data

        call.read = counted  # type: ignore[method-assign]  # the fake's own call object
        return await serve(call)

    bench.api.exec_handler = die
    (bench.context / "big").write_bytes(os.urandom(20_000_000))

    with pytest.raises(ConnectionLost, match=r"pod buildkit-amd64-0 .*OOMKilled, exit code 137"):
        await build(bench.request("FROM scratch\nCOPY big /\n"), bench.kube, emit=bench.events.append, environ={})
    assert "trying again" in bench.notes()


async def test_build_that_is_cancelled_leaves_no_build_in_the_daemon(bench: Bench, buildkitd: Path) -> None:
    from kubectl_build.buildkit.client import connect

    (bench.context / "sleep.c").write_text("x")
    request = bench.request("FROM scratch\nCOPY . /\n", outputs=(Output(type=OutputType.LOCAL, dest=str(bench.context / "o")),))
    started = asyncio.Event()

    def note(event: BuildEvent) -> None:
        if isinstance(event, StatusUpdate):
            started.set()

    task = asyncio.create_task(build(request, bench.kube, emit=note, environ={}))
    await asyncio.wait_for(started.wait(), 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    # The daemon takes a build out of its list a moment after it has stopped.
    async with connect(f"unix:{buildkitd}") as client, asyncio.timeout(10):
        while await client.history(active_only=True):
            pass


async def test_plan_only_of_a_running_builder_reads_the_steps_and_runs_none(bench: Bench) -> None:
    plan = await plan_only(
        bench.request('FROM scratch\nCOPY Dockerfile /\nRUN ["/x"]\n', platforms=(AMD64,)), bench.kube, emit=bench.events.append, environ={}
    )

    assert plan.certain
    assert [(str(a.platform), a.mode.value, a.pool) for a in plan.assignments] == [("linux/amd64", "native", "amd64")]
    assert not any("RUN" in step for step in bench.steps())


async def test_plan_only_without_a_builder_creates_nothing(bench: Bench) -> None:
    request = replace(bench.request("FROM scratch\n", platforms=(AMD64, ARM64)), builder="other")
    before = set(bench.api.objects)

    plan = await plan_only(request, bench.kube, emit=bench.events.append, environ={})

    assert not plan.certain
    assert set(bench.api.objects) == before
