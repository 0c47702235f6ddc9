"""One question to every daemon."""

from __future__ import annotations

from pathlib import Path

from kubectl_build.builder.state import PodInfo
from kubectl_build.buildkit.client import DaemonInfo
from kubectl_build.cluster.client import PODS, open_client
from kubectl_build.survey import daemon_infos
from tests.fakes.daemon import FakeDaemon, dialing, serve_daemon
from tests.fakes.kube_api import open_fake_kube_api
from tests.fakes.kube_exec import ExecCall


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
