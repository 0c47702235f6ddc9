from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from kubectl_build.builder.apply import adopted
from kubectl_build.builder.bootstrap import ensure_pools
from kubectl_build.builder.busy import ActiveBuilds
from kubectl_build.builder.create import CreateResult, bootstrap_architectures, create_builder
from kubectl_build.builder.find import find_builder
from kubectl_build.builder.remove import remove_builders
from kubectl_build.builder.spec import BuilderSpec, RegistrySettings
from kubectl_build.builder.state import Builder, PodInfo
from kubectl_build.cluster.client import CONFIGMAPS, NODES, PODS, SECRETS, STATEFULSETS, KubeClient
from kubectl_build.errors import ClusterError, Conflict, DialError, Forbidden, UsageError
from kubectl_build.model.json import JsonObject
from kubectl_build.model.platform import parse_platforms
from tests.fakes.kube_api import FakeKubeApi
from tests.unit.builder.conftest import Notes, until
from tests.unit.builder.controller import run_controller, waiting

CA = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


async def _idle(_pod: PodInfo) -> int:
    return 0


async def _busy(_pod: PodInfo) -> int:
    return 1


async def _create(
    client: KubeClient,
    notes: Notes,
    spec: BuilderSpec | None = None,
    architectures: Sequence[str] = (),
    active_builds: ActiveBuilds = _idle,
) -> CreateResult:
    return await create_builder(client, "b", spec or BuilderSpec(), architectures=architectures, active_builds=active_builds, emit=notes)


async def _ensure(client: KubeClient, notes: Notes, *architectures: str) -> None:
    async def source() -> BuilderSpec:
        return BuilderSpec()

    await ensure_pools(client, "b", architectures, spec_source=source, emit=notes, deadline=20)


async def _found(client: KubeClient, notes: Notes) -> Builder:
    builder = await find_builder(client, "b", emit=notes)
    assert builder is not None
    return builder


def _names(api: FakeKubeApi) -> list[str]:
    return sorted(f"{kind.split('.')[0]}/{name}" for kind, _, name in api.objects if kind != "nodes")


def _add_node(api: FakeKubeApi, name: str, architecture: str) -> None:
    labels = {"kubernetes.io/arch": architecture, "kubernetes.io/os": "linux"}
    api.add(NODES, {"metadata": {"name": name, "labels": labels}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}})


async def test_create_without_platforms_makes_a_builder_that_grows_with_builds(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    result = await _create(client, notes, BuilderSpec(image="i:1"))

    assert result == CreateResult(created=True, changed=True, pools=())
    async with run_controller(api):
        await _ensure(client, notes, "amd64")
    assert [(pool.architecture, pool.image) for pool in (await _found(client, notes)).pools] == [("amd64", "i:1")]


async def test_create_without_platforms_that_no_pool_could_have_is_refused_and_makes_nothing(
    api: FakeKubeApi, client: KubeClient, notes: Notes
) -> None:
    api.fail("POST", "statefulsets", 422, reason="Invalid", message="nodeSelector: Invalid value")

    with pytest.raises(ClusterError, match=r'does not accept builder "b" as it is asked for.*nodeSelector: Invalid value'):
        await _create(client, notes, BuilderSpec(image="i:1"))

    assert _names(api) == []


async def test_create_where_a_webhook_cannot_rehearse_makes_the_builder(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    api.fail("POST", "statefulsets", 400, reason="BadRequest", message="admission webhook does not support dry run")

    assert (await _create(client, notes, BuilderSpec(image="i:1"))).created


async def test_create_with_platforms_makes_their_pools(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    _add_node(api, "n1", "amd64")
    _add_node(api, "n2", "arm64")

    result = await _create(client, notes, BuilderSpec(platforms=parse_platforms(["linux/386,linux/arm64,linux/arm/v7"]), replicas=2))

    assert result.pools == ("amd64", "arm64")
    builder = await _found(client, notes)
    assert [(pool.architecture, pool.replicas) for pool in builder.pools] == [("amd64", 2), ("arm64", 2)]
    assert builder.arm32


async def test_create_for_a_platform_without_a_node_is_refused_and_makes_nothing(
    api: FakeKubeApi, client: KubeClient, notes: Notes
) -> None:
    _add_node(api, "n1", "amd64")

    with pytest.raises(UsageError, match="no node of architecture s390x can run a builder now"):
        await _create(client, notes, BuilderSpec(platforms=parse_platforms(["linux/amd64,linux/s390x"])))
    assert _names(api) == []


async def test_create_changes_what_a_build_made_and_leaves_nothing_of_it(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    async with run_controller(api):
        await _ensure(client, notes, "amd64")
        result = await _create(client, notes, BuilderSpec(image="new:1", registries={"r": RegistrySettings(ca=CA)}))
        await _ensure(client, notes, "amd64")

        assert result == CreateResult(created=False, changed=True, pools=("amd64",), replaced=("b-amd64-0",))
        builder = await _found(client, notes)
        assert [(pod.image, pod.outdated) for pod in builder.pods] == [("new:1", False)]
        assert "secrets/b-certs" in _names(api)

        await _create(client, notes, BuilderSpec(image="new:1"))
        assert "secrets/b-certs" not in _names(api)


@pytest.mark.parametrize("error", [False, True])
async def test_create_leaves_a_pod_that_builds_or_cannot_say(api: FakeKubeApi, client: KubeClient, notes: Notes, error: bool) -> None:
    async def fails(_pod: PodInfo) -> int:
        raise DialError("no answer")

    async with run_controller(api):
        await _ensure(client, notes, "amd64")
        result = await _create(client, notes, BuilderSpec(image="new:1"), active_builds=fails if error else _busy)

        assert (result.replaced, result.busy) == ((), ("b-amd64-0",))
        assert [pod.outdated for pod in (await _found(client, notes)).pods] == [True]
        said = "pod b-amd64-0 does not say whether it builds" if error else "pod b-amd64-0 runs 1 build, and no Lease tells whose"
        assert notes.texts[-1] == f"{said}; it keeps its earlier configuration: run create again when it is idle"


async def test_create_replaces_an_outdated_pod_that_never_started_without_asking_it(
    api: FakeKubeApi, client: KubeClient, notes: Notes
) -> None:
    await _create(client, notes, architectures=["amd64"])
    async with run_controller(api, waiting("ErrImagePull", "x")):
        await until(lambda: api.find(PODS, "b-amd64-0"))
        result = await _create(client, notes, BuilderSpec(image="new:1"), active_builds=_busy)

    assert result.replaced == ("b-amd64-0",)


async def test_create_leaves_the_number_of_pods_alone_unless_it_is_asked_for(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    await _create(client, notes, BuilderSpec(replicas=2), ["amd64"])
    stored = api.find(STATEFULSETS, "b-amd64")
    assert stored is not None
    await client.patch(STATEFULSETS, "b-amd64", {"spec": {"replicas": 5}})

    await _create(client, notes, BuilderSpec(image="new:1"), ["arm64"])

    sizes = {pool.architecture: pool.replicas for pool in (await _found(client, notes)).pools}
    assert sizes == {"amd64": 5, "arm64": 2}
    await _create(client, notes, BuilderSpec(replicas=1))
    sizes = {pool.architecture: pool.replicas for pool in (await _found(client, notes)).pools}
    assert sizes == {"amd64": 1, "arm64": 1}


async def test_create_removes_a_pool_that_the_fixed_platforms_no_longer_have(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    amd64_only = BuilderSpec(platforms=parse_platforms(["linux/amd64"]))
    async with run_controller(api):
        await _ensure(client, notes, "amd64", "arm64")

        with pytest.raises(ClusterError, match="the pool arm64 would go, but pod b-arm64-0 runs 1 build"):
            await _create(client, notes, amd64_only, active_builds=_busy)
        assert "statefulsets/b-arm64" in _names(api)
        assert (await _found(client, notes)).spec == BuilderSpec()

        await _create(client, notes, amd64_only)
        assert [pool.architecture for pool in (await _found(client, notes)).pools if pool.replicas] == ["amd64"]


async def test_create_that_somebody_else_overtakes_is_a_conflict(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    await _create(client, notes)

    async with asyncio.TaskGroup() as group:
        both = [group.create_task(_outcome(_create(client, notes, BuilderSpec(image=f"i:{number}")))) for number in range(2)]

    assert sorted(type(task.result()).__name__ for task in both) == ["Conflict", "CreateResult"]


async def test_create_of_one_new_builder_twice_at_once_and_alike_is_one_builder(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    results = await asyncio.gather(_create(client, notes, architectures=["amd64"]), _create(client, notes, architectures=["amd64"]))

    assert [result.pools for result in results] == [("amd64",), ("amd64",)]
    assert _names(api) == ["configmaps/b", "networkpolicies/b", "statefulsets/b-amd64"]


async def test_create_of_one_new_builder_twice_at_once_and_differently_is_a_conflict(
    api: FakeKubeApi, client: KubeClient, notes: Notes
) -> None:
    outcomes = await asyncio.gather(*(_outcome(_create(client, notes, BuilderSpec(image=f"i:{number}"), ["amd64"])) for number in range(2)))

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "CreateResult"]
    assert _names(api) == ["configmaps/b", "networkpolicies/b", "statefulsets/b-amd64"]


async def _outcome(call: object) -> object:
    try:
        return await call  # type: ignore[misc]  # a coroutine of either outcome
    except Conflict as exc:
        return exc


async def test_create_that_fails_half_way_takes_a_new_builder_back(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    api.fail("POST", "/statefulsets", 403, message="no")

    with pytest.raises(Forbidden):
        await _create(client, notes, BuilderSpec(registries={"r": RegistrySettings(ca=CA)}), ["amd64"])
    assert _names(api) == []


async def test_create_refuses_objects_of_somebody_else(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    api.add(SECRETS, {"metadata": {"name": "b-certs"}})

    with pytest.raises(ClusterError, match='Secret "b-certs" in namespace "default" is there, but does not belong to builder "b"'):
        await _create(client, notes, BuilderSpec(registries={"r": RegistrySettings(ca=CA)}))
    assert _names(api) == ["secrets/b-certs"]


async def test_create_with_qemu_install_says_what_it_does_to_the_nodes(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    await _create(client, notes, BuilderSpec(qemu_install=True))

    assert "in the kernel of the builder's nodes, for everything that runs on them" in notes.texts[0]


async def test_bootstrap_is_for_the_fixed_platforms_or_for_the_nodes(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    with pytest.raises(ClusterError, match="the architectures of the nodes are not known"):
        await bootstrap_architectures(client, BuilderSpec(), notes)
    for name, architecture in (("a", "s390x"), ("b", "arm64"), ("c", "arm64")):
        _add_node(api, name, architecture)

    assert await bootstrap_architectures(client, BuilderSpec(), notes) == ("arm64", "s390x")
    assert await bootstrap_architectures(client, BuilderSpec(platforms=parse_platforms(["linux/386"])), notes) == ("amd64",)


def _managed(operation: str, fields: JsonObject, manager: str = "kubectl-build", **more: str) -> JsonObject:
    return {"manager": manager, "operation": operation, "apiVersion": "apps/v1", "fieldsV1": fields, **more}


def test_adopted_turns_a_create_into_an_apply_without_the_replicas() -> None:
    controller = _managed("Update", {"f:status": {}}, "kube-controller-manager", subresource="status")
    created = _managed("Update", {"f:spec": {"f:replicas": {}, "f:template": {"f:a": {}}}})

    assert adopted([created, controller], keep_replicas=True) == [controller, _managed("Apply", {"f:spec": {"f:template": {"f:a": {}}}})]
    assert adopted([created], keep_replicas=False) == [_managed("Apply", {"f:spec": {"f:replicas": {}, "f:template": {"f:a": {}}}})]


def test_adopted_joins_what_was_applied_and_what_was_patched() -> None:
    applied = _managed("Apply", {"f:spec": {"f:template": {"f:a": {}}}})
    patched = _managed("Update", {"f:spec": {"f:template": {"f:b": {}}}})

    assert adopted([applied, patched], keep_replicas=True) == [_managed("Apply", {"f:spec": {"f:template": {"f:a": {}, "f:b": {}}}})]


def test_adopted_gives_up_what_a_start_by_scale_has_left() -> None:
    """Else an apply with replicas would meet us as another writer."""
    own = {"manager": "kubectl-build", "operation": "Apply", "fieldsV1": {"f:spec": {"f:template": {}}}}
    scaled = {"manager": "kubectl-build", "operation": "Update", "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    status = {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status", "fieldsV1": {}}

    assert adopted([own, scaled, status], keep_replicas=False) == [status, own]


def test_adopted_has_nothing_to_do_after_an_apply_or_for_others() -> None:
    assert adopted([_managed("Apply", {"f:spec": {"f:template": {}}})], keep_replicas=True) is None
    assert adopted([_managed("Update", {"f:data": {}}, "kubectl-edit")], keep_replicas=True) is None
    assert adopted([], keep_replicas=True) is None


async def _remove(client: KubeClient, notes: Notes, *builders: str, seconds: float = 20, ignore: bool = False) -> tuple[str, ...]:
    return await remove_builders(client, builders, ignore_not_found=ignore, emit=notes, deadline=seconds)


async def test_remove_takes_all_of_the_builder_and_nothing_else(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    others = (
        (CONFIGMAPS, {"metadata": {"name": "mine"}}),
        (SECRETS, {"metadata": {"name": "b"}}),
        (CONFIGMAPS, {"metadata": {"name": "b-x", "labels": {"app.kubernetes.io/instance": "b"}}}),
    )
    for resource, item in others:
        api.add(resource, item)
    async with run_controller(api):
        await _create(client, notes, BuilderSpec(registries={"r": RegistrySettings(ca=CA)}))
        await _ensure(client, notes, "amd64", "arm64")

        assert await _remove(client, notes, "b") == ("b",)

    assert _names(api) == ["configmaps/b-x", "configmaps/mine", "secrets/b"]


async def test_remove_of_an_unknown_name_is_an_error_after_the_known_ones_are_gone(
    api: FakeKubeApi, client: KubeClient, notes: Notes
) -> None:
    await _create(client, notes)

    with pytest.raises(ClusterError, match='builder "c", "d" is not there in namespace "default"') as caught:
        await _remove(client, notes, "c", "b", "d", "b")
    assert caught.value.exit_code == 4
    assert _names(api) == []
    assert await _remove(client, notes, "b", ignore=True) == ()


async def test_remove_waits_for_the_pods_and_names_those_that_stay(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    async with run_controller(api):
        await _ensure(client, notes, "amd64")

    with pytest.raises(ClusterError, match='builder "b" is removed, but its pods are still there: b-amd64-0 on node node-1'):
        await _remove(client, notes, "b", seconds=0.2)


async def test_remove_without_the_right_to_list_secrets_removes_the_one_that_pods_mount(
    api: FakeKubeApi, client: KubeClient, notes: Notes
) -> None:
    await _create(client, notes, BuilderSpec(registries={"r": RegistrySettings(ca=CA)}), ["amd64"])
    api.fail("GET", "/secrets", 403)

    await _remove(client, notes, "b")

    assert _names(api) == []


async def test_create_against_another_manager_of_a_field_changes_nothing_at_all(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    await _create(client, notes, BuilderSpec(image="i:1"), ["amd64"])
    stored = api.find(STATEFULSETS, "b-amd64")
    assert stored is not None
    claimed = {"metadata": {"name": "b-amd64"}, "spec": {"template": stored["spec"]["template"]}}
    await client.apply(STATEFULSETS, claimed, field_manager="gitops")

    with pytest.raises(Conflict, match=r'StatefulSet "b-amd64" in namespace "default" was not changed.*conflict with "gitops"'):
        await _create(client, notes, BuilderSpec(image="i:2"))
    builder = await _found(client, notes)
    assert (builder.spec, builder.pools[0].image) == (BuilderSpec(image="i:1"), "i:1")
