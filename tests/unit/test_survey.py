"""One question to every daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kubectl_build.builder.state import PodInfo
from kubectl_build.buildkit.client import DaemonInfo
from kubectl_build.cluster.client import PODS, KubeClient, open_client
from kubectl_build.survey import daemon_infos, loads
from tests.fakes.daemon import FakeDaemon, dialing, serve_daemon
from tests.fakes.kube_api import open_fake_kube_api
from tests.fakes.kube_exec import ExecCall, ExecHandler


async def test_pods_of_one_name_in_two_namespaces_answer_for_themselves(tmp_path: Path) -> None:
    pods = [PodInfo(name="b-amd64-0", namespace=name, uid=name, architecture="amd64", ready=True) for name in ("default", "other")]
    async with (
        serve_daemon(FakeDaemon(socket=tmp_path / "default", version="v0.31.2")),
        serve_daemon(FakeDaemon(socket=tmp_path / "other", version="v0.29.0")),
        open_fake_kube_api() as api,
        open_client(api.connection()) as kube,
    ):

        async def handle(call: ExecCall) -> int:
            assert call.socket._req is not None
            namespace = "other" if "/namespaces/other/" in call.socket._req.path else "default"
            return await dialing(tmp_path / namespace)(call) or 0

        api.exec_handler = handle
        for pod in pods:
            api.add(PODS, {"metadata": {"name": pod.name, "namespace": pod.namespace}})

        found = await daemon_infos(kube, pods)

    versions = {pod: answer.version for pod, answer in found.items() if isinstance(answer, DaemonInfo)}
    assert versions == {("default", "b-amd64-0"): "v0.31.2", ("other", "b-amd64-0"): "v0.29.0"}


_PODS = [PodInfo(name=f"b-amd64-{number}", namespace="default", uid=str(number), architecture="amd64", ready=True) for number in range(2)]


class _Execs:
    """The execs that were asked for, by pod, and those that go on."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.going: list[str] = []
        self.ended = asyncio.Event()

    def handler(self, answers: dict[str, ExecHandler]) -> ExecHandler:
        async def handle(call: ExecCall) -> int | None:
            assert call.socket._req is not None
            pod = call.socket._req.path.split("/pods/")[1].split("/")[0]
            self.asked.append(pod)
            self.going.append(pod)
            try:
                return await answers[pod](call)
            finally:
                self.going.remove(pod)
                self.ended.set()

        return handle

    async def wait_until_left(self, pods: list[str]) -> None:
        while self.going != pods:
            self.ended.clear()
            await self.ended.wait()


@asynccontextmanager
async def _two_daemons(tmp_path: Path, execs: _Execs, **answers: ExecHandler) -> AsyncIterator[KubeClient]:
    async with (
        serve_daemon(FakeDaemon(socket=tmp_path / "daemon", images="example.com/a")),
        open_fake_kube_api() as api,
        open_client(api.connection()) as kube,
    ):
        usual = {pod.name: dialing(tmp_path / "daemon") for pod in _PODS}
        api.exec_handler = execs.handler({**usual, **{f"b-amd64-{name[-1]}": answer for name, answer in answers.items()}})
        for pod in _PODS:
            api.add(PODS, {"metadata": {"name": pod.name, "namespace": pod.namespace}})
        yield kube


async def test_loads_of_two_pods_keeps_one_connection_to_each_until_it_is_closed(tmp_path: Path) -> None:
    execs = _Execs()
    async with _two_daemons(tmp_path, execs) as kube:
        first, second = await loads(kube, _PODS)

        assert [(loaded.pod.name, loaded.builds) for loaded in (first, second)] == [("b-amd64-0", 1), ("b-amd64-1", 1)]
        await second.opened.aclose()
        await execs.wait_until_left(["b-amd64-0"])
        await first.link.client.healthy()
        await first.opened.aclose()
        await execs.wait_until_left([])

    assert sorted(execs.asked) == ["b-amd64-0", "b-amd64-1"]


async def test_loads_pod_that_does_not_answer_is_left_out_and_nothing_of_it_stays_open(tmp_path: Path) -> None:
    async def refuse(_: ExecCall) -> int:
        return 1

    execs = _Execs()
    async with _two_daemons(tmp_path, execs, pod1=refuse) as kube:
        (only,) = await loads(kube, _PODS)
        await execs.wait_until_left(["b-amd64-0"])
        await only.opened.aclose()

    assert only.pod.name == "b-amd64-0"


async def test_loads_cancelled_while_one_pod_hangs_closes_the_others(tmp_path: Path) -> None:
    hangs = asyncio.Event()

    async def hang(call: ExecCall) -> int:
        hangs.set()
        while await call.read():
            pass
        return 0

    execs = _Execs()
    async with _two_daemons(tmp_path, execs, pod1=hang) as kube:
        asking = asyncio.create_task(loads(kube, _PODS))
        await hangs.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await execs.wait_until_left([])
