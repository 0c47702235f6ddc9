"""`create` with volumes, network policies, taints and dry runs of the server, against the fake API server."""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_build.builder import names
from kubectl_build.builder.bootstrap import ensure_pools
from kubectl_build.builder.create import CreateResult, bootstrap_architectures, create_builder
from kubectl_build.builder.manifests import render
from kubectl_build.builder.rehearse import rehearse
from kubectl_build.builder.remove import remove_builders
from kubectl_build.builder.shape import PodShape
from kubectl_build.builder.spec import BuilderSpec
from kubectl_build.builder.state import PodInfo
from kubectl_build.builder.volume import CacheVolume, parse_cache
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import CONFIGMAPS, NETWORKPOLICIES, NODES, PERSISTENTVOLUMECLAIMS, STATEFULSETS
from kubectl_build.errors import ClusterError
from tests.fakes.kube_api import FakeKubeApi
from tests.unit.builder.conftest import Notes
from tests.unit.builder.controller import run_controller


async def _idle(_pod: PodInfo) -> int:
    return 0


async def _create(client: KubeClient, notes: Notes, spec: BuilderSpec) -> CreateResult:
    return await create_builder(client, "b", spec, architectures=["amd64"], active_builds=_idle, emit=notes)


def _spec(cache: str) -> BuilderSpec:
    return BuilderSpec(cache=parse_cache(cache), security="privileged")


def _pool(api: FakeKubeApi) -> dict[str, Any]:
    found = api.find(STATEFULSETS, "b-amd64")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("emptydir", "pvc,size=1Gi"),
        ("pvc,size=1Gi", "emptydir,size=1Gi"),
        ("pvc,size=1Gi", "pvc,size=2Gi"),
        ("pvc,size=1Gi", "pvc,size=1Gi,class=fast"),
    ],
)
async def test_create_with_other_claims_is_refused_and_changes_nothing(
    api: FakeKubeApi, client: KubeClient, notes: Notes, before: str, after: str
) -> None:
    await _create(client, notes, _spec(before))
    version = _pool(api)["metadata"]["resourceVersion"]

    with pytest.raises(ClusterError, match=f'its cache is "{before}" and cannot become "{after}"') as caught:
        await _create(client, notes, _spec(after))

    assert caught.value.exit_code == 4
    assert "kubectl buildkit rm b" in (caught.value.hint or "")
    assert _pool(api)["metadata"]["resourceVersion"] == version


async def test_create_with_the_same_claims_kept_from_now_on_is_a_change(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    await _create(client, notes, _spec("pvc,size=1Gi"))

    assert (await _create(client, notes, _spec("pvc,size=1024Mi,keep=true"))).changed
    assert _pool(api)["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Retain"


@pytest.mark.parametrize(("cache", "left"), [("pvc,size=1Gi", []), ("pvc,size=1Gi,keep=true", ["state-b-amd64-0"])])
async def test_remove_deletes_the_claims_unless_they_are_kept_and_names_those(
    api: FakeKubeApi, client: KubeClient, notes: Notes, cache: str, left: list[str]
) -> None:
    await _create(client, notes, _spec(cache))
    labels = _pool(api)["spec"]["volumeClaimTemplates"][0]["metadata"]["labels"]
    api.add(PERSISTENTVOLUMECLAIMS, {"metadata": {"name": "state-b-amd64-0", "labels": labels}})
    api.add(PERSISTENTVOLUMECLAIMS, {"metadata": {"name": "state-other-0", "labels": {**labels, names.LABEL_INSTANCE: "other"}}})

    notes.clear()
    await remove_builders(client, ["b"], emit=notes, deadline=5)

    kept = [name for name in ("state-b-amd64-0", "state-other-0") if api.find(PERSISTENTVOLUMECLAIMS, name)]
    assert kept == [*left, "state-other-0"]
    assert [text.partition(";")[0] for text in notes.texts] == [f'the cache of builder "b" is kept: {name}' for name in left]


async def test_remove_without_the_right_to_claims_leaves_them_to_kubernetes(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    await _create(client, notes, _spec("pvc,size=1Gi"))
    api.fail("GET", "/persistentvolumeclaims", 403)

    assert await remove_builders(client, ["b"], emit=notes, deadline=5) == ("b",)


async def test_create_makes_the_network_policy_and_remove_takes_it(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    assert (await _create(client, notes, _spec("emptydir"))).created
    assert api.find(NETWORKPOLICIES, "b") is not None
    assert not (await _create(client, notes, _spec("emptydir"))).changed

    await remove_builders(client, ["b"], emit=notes, deadline=5)
    assert api.find(NETWORKPOLICIES, "b") is None


async def test_create_and_build_without_the_right_to_network_policies_say_so_and_go_on(
    api: FakeKubeApi, client: KubeClient, notes: Notes
) -> None:
    api.fail("*", "/networkpolicies", 403)

    async def source() -> BuilderSpec:
        return _spec("emptydir")

    async with run_controller(api):
        assert await ensure_pools(client, "b", ["amd64"], spec_source=source, emit=notes, deadline=20)
        assert not (await _create(client, notes, _spec("emptydir"))).changed
        await remove_builders(client, ["b"], ignore_not_found=True, emit=notes, deadline=20)

    told = [text for text in notes.texts if "NetworkPolicy" in text]
    assert told == [
        'NetworkPolicy "b" is not made: you may not write network policies',
        'NetworkPolicy "b" is not made: you may not write network policies',
        'NetworkPolicy "b", if there is one, is left: you may not delete network policies',
    ]
    assert api.find(CONFIGMAPS, "b") is None


def _add_node(api: FakeKubeApi, name: str, architecture: str, taint: dict[str, str], **labels: str) -> None:
    own = {"kubernetes.io/arch": architecture, "kubernetes.io/os": "linux", **labels}
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    api.add(NODES, {"metadata": {"name": name, "labels": own}, "spec": {"taints": [taint]}, "status": ready})


async def test_bootstrap_counts_the_nodes_that_the_pods_select_and_tolerate(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    _add_node(api, "a", "s390x", {"key": "dedicated", "value": "builds", "effect": "NoSchedule"}, disk="ssd")
    _add_node(api, "b", "arm64", {"key": "gpu", "effect": "NoExecute"}, disk="ssd")
    _add_node(api, "c", "amd64", {"key": "soft", "effect": "PreferNoSchedule"}, disk="none")

    async def pools(**shape: Any) -> tuple[str, ...]:
        return await bootstrap_architectures(client, BuilderSpec(pod=PodShape(**shape)), notes)

    builds = {"key": "dedicated", "operator": "Equal", "value": "builds", "effect": "NoSchedule"}
    assert await pools() == ("amd64",)
    assert set(await pools(tolerations=(builds,))) == {"amd64", "s390x"}
    assert set(await pools(tolerations=({"operator": "Exists"},))) == {"amd64", "arm64", "s390x"}
    assert await pools(
        tolerations=({"key": "gpu", "operator": "Exists", "tolerationSeconds": 5}, builds), node_selector={"disk": "ssd"}
    ) == ("s390x",)


async def test_rehearsal_shows_what_the_server_makes_of_new_and_present_objects_and_changes_nothing(
    api: FakeKubeApi, client: KubeClient, notes: Notes
) -> None:
    await _create(client, notes, _spec("emptydir"))
    before = {key: item["metadata"]["resourceVersion"] for key, item in api.objects.items()}
    manifests = render("b", client.namespace, BuilderSpec(image="i:2", cache=CacheVolume(size="1Gi")), ("amd64", "arm64"))

    shown = await rehearse(client, manifests.objects, builder="b")

    assert [(item["kind"], item["metadata"]["name"]) for item in shown] == [
        (item["kind"], item["metadata"]["name"]) for item in manifests.objects
    ]
    images = [item["spec"]["template"]["spec"]["containers"][0]["image"] for item in shown if item["kind"] == "StatefulSet"]
    assert images == ["i:2", "i:2"]
    assert not any("managedFields" in item["metadata"] or "status" in item for item in shown)
    assert {key: item["metadata"]["resourceVersion"] for key, item in api.objects.items()} == before


async def test_rehearsal_of_an_object_of_somebody_else_is_refused(api: FakeKubeApi, client: KubeClient) -> None:
    api.add(CONFIGMAPS, {"metadata": {"name": "b"}})

    with pytest.raises(ClusterError, match='ConfigMap "b"'):
        await rehearse(client, render("b", client.namespace, BuilderSpec(), ()).objects, builder="b")
