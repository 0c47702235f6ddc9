from __future__ import annotations

import pytest

from kubectl_build.builder.buildkitd_config import render_buildkitd_config
from kubectl_build.builder.spec import BuilderSpec, RegistrySettings
from kubectl_build.builder.state import Builder, PodInfo
from kubectl_build.builder.trust import load_registries
from kubectl_build.cluster.client import PODS, KubeClient
from kubectl_build.errors import DialError
from tests.fakes.kube_api import FakeKubeApi
from tests.fakes.kube_exec import ExecCall

CA = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
SPEC = BuilderSpec(registries={"r:5000": RegistrySettings(ca=CA), "m": RegistrySettings(http=True)})
POD = PodInfo(name="b-amd64-0", namespace="default", uid="u", architecture="amd64")


def _serve(api: FakeKubeApi, files: dict[str, str]) -> None:
    async def cat(call: ExecCall) -> int:
        assert call.command[0] == "cat"
        if call.command[1] not in files:
            await call.write_error(b"cat: can't open it\n")
            return 1
        await call.write(files[call.command[1]].encode())
        return 0

    api.add(PODS, {"metadata": {"name": POD.name}})
    api.exec_handler = cat


async def test_registries_of_a_spec_that_can_be_read_need_no_pod(api: FakeKubeApi, client: KubeClient) -> None:
    assert await load_registries(client, Builder(name="b", namespace="default", spec=SPEC), POD) == SPEC.registries
    assert api.requests == []


async def test_registries_come_from_the_pods_files_where_the_spec_cannot_be_read(api: FakeKubeApi, client: KubeClient) -> None:
    _serve(api, {"/etc/buildkit/buildkitd.toml": render_buildkitd_config(SPEC), "/etc/buildkit/certs/r_5000.ca.pem": CA})

    assert await load_registries(client, Builder(name="b", namespace="default"), POD) == SPEC.registries


async def test_registries_of_a_pod_without_its_files_are_an_error_that_names_them(api: FakeKubeApi, client: KubeClient) -> None:
    _serve(api, {})

    with pytest.raises(DialError, match=r"\"/etc/buildkit/buildkitd.toml\" of pod \"b-amd64-0\" cannot be read: cat: can't open it"):
        await load_registries(client, Builder(name="b", namespace="default"), POD)
