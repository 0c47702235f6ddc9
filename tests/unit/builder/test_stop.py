from __future__ import annotations

import asyncio

import pytest

from kubectl_build.builder.bootstrap import ensure_pools
from kubectl_build.builder.create import create_builder
from kubectl_build.builder.find import find_builder
from kubectl_build.builder.manifests import render
from kubectl_build.builder.names import labels
from kubectl_build.builder.remove import remove_builders
from kubectl_build.builder.spec import BuilderSpec
from kubectl_build.builder.state import Builder, PodInfo
from kubectl_build.builder.stop import stop_builder, tell_cache
from kubectl_build.builder.volume import CacheVolume
from kubectl_build.cluster.client import CONFIGMAPS, LEASES, PODS, STATEFULSETS, KubeClient
from kubectl_build.errors import ClusterError
from tests.fakes.kube_api import FakeKubeApi
from tests.unit.builder.conftest import Notes, until
from tests.unit.builder.controller import run_controller


async def _source() -> BuilderSpec:
    return BuilderSpec(replicas=2)


async def _start(client: KubeClient, notes: Notes, *architectures: str) -> Builder:
    await ensure_pools(client, "b", architectures, spec_source=_source, emit=notes, deadline=20)
    return await _found(client, notes)


async def _found(client: KubeClient, notes: Notes) -> Builder:
    builder = await find_builder(client, "b", emit=notes)
    assert builder is not None
    return builder


def _pods(api: FakeKubeApi) -> list[str]:
    return [name for kind, _, name in api.objects if kind == PODS.qualified]


async def test_stop_ends_every_pod_and_the_next_build_starts_as_many(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    async with run_controller(api):
        builder = await _start(client, notes, "amd64", "arm64")

        assert await stop_builder(client, builder, emit=notes, deadline=20) == ("amd64", "arm64")
        assert _pods(api) == []
        assert (await _found(client, notes)).status == "stopped"

        await _start(client, notes, "amd64")
        await until(lambda: len(_pods(api)) == 2)
        assert (await _found(client, notes)).status == "running"


async def test_stop_touches_only_the_pools_that_run(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    async with run_controller(api):
        builder = await _start(client, notes, "amd64")
        await stop_builder(client, builder, emit=notes, deadline=20)
        api.requests.clear()

        assert await stop_builder(client, await _found(client, notes), emit=notes, deadline=20) == ()

    assert not [request for request in api.requests if request.method == "PATCH"]


async def test_stop_with_pods_that_stay_names_them(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    async with run_controller(api):
        builder = await _start(client, notes, "amd64")

    with pytest.raises(ClusterError, match=r'builder "b" is stopped, but its pods are still there: b-amd64-0 on node node-1'):
        await stop_builder(client, builder, emit=notes, deadline=1)


async def test_stop_with_force_gives_pods_no_time_to_finish(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    async with run_controller(api):
        builder = await _start(client, notes, "amd64")
        api.requests.clear()

        await stop_builder(client, builder, force=True, emit=notes, deadline=20)

    changes = [request for request in api.requests if request.method in ("DELETE", "PATCH")]
    # The pods before what would end them slowly.
    assert [request.method for request in changes] == ["DELETE", "DELETE", "PATCH"]
    assert [request.body["gracePeriodSeconds"] for request in changes[:2] if request.body] == [1, 1]


async def test_stop_without_the_right_to_see_pools_says_what_is_missing(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    async with run_controller(api):
        await _start(client, notes, "amd64")
    api.fail("GET", "/statefulsets", 403)

    with pytest.raises(ClusterError, match="cannot be stopped by you") as raised:
        await stop_builder(client, await _found(client, notes), emit=notes, deadline=20)
    assert raised.value.hint is not None
    assert "statefulsets" in raised.value.hint


@pytest.mark.parametrize(
    ("cache", "words"),
    [(CacheVolume(), "is lost"), (CacheVolume(kind="memory", size="1Gi"), "is lost"), (CacheVolume(kind="pvc", size="1Gi"), None)],
    ids=["emptydir", "memory", "pvc"],
)
def test_cache_that_goes_with_the_pods_is_told(notes: Notes, cache: CacheVolume, words: str | None) -> None:
    tell_cache(Builder(name="b", namespace="n", spec=BuilderSpec(cache=cache)), notes)

    assert len(notes.texts) == (words is not None)
    assert words is None or words in notes.texts[0]


def test_cache_of_a_builder_whose_spec_is_not_known_is_told_as_such(notes: Notes) -> None:
    tell_cache(Builder(name="b", namespace="n"), notes)

    assert "not known" in notes.texts[0]


async def test_remove_deletes_the_leases_of_builds_too(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    api.add(CONFIGMAPS, render("b", "default", BuilderSpec(), ()).config_map)
    api.add(LEASES, {"metadata": {"name": "left", "labels": labels("b", "amd64")}})
    api.add(LEASES, {"metadata": {"name": "others", "labels": labels("c", "amd64")}})

    assert await remove_builders(client, ["b"], emit=notes, deadline=20) == ("b",)
    assert [name for kind, _, name in api.objects if kind == LEASES.qualified] == ["others"]


async def test_remove_with_force_gives_pods_no_time_to_finish(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    async with run_controller(api):
        await _start(client, notes, "amd64")
        api.requests.clear()

        await remove_builders(client, ["b"], force=True, emit=notes, deadline=20)

    pods = [request for request in api.requests if request.method == "DELETE" and "/pods/" in request.path and request.body]
    assert {request.body["gracePeriodSeconds"] for request in pods if request.body} == {1}
    assert api.find(STATEFULSETS, "b-amd64") is None


async def test_wait_for_a_pool_that_somebody_stops_meanwhile_starts_it_again(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    """The stop saw no build: it came when the pods were still starting."""
    starting = {"phase": "Pending"}
    async with run_controller(api, lambda _pod: dict(starting)):
        build = asyncio.create_task(_start(client, notes, "amd64"))
        await until(lambda: _pods(api))
        for times in (1, 2):
            await until(lambda: "preparing pod b-amd64-0" in notes.texts[-1])
            await client.patch(STATEFULSETS, "b-amd64", {"spec": {"replicas": 0}})
            await until(lambda times=times: notes.texts.count("pool amd64 of builder b is stopped: starting it") == times)  # type: ignore[misc]
        build.cancel()
        await asyncio.wait({build})


async def test_create_tells_for_whom_a_pod_keeps_its_earlier_configuration(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    async def busy(_pod: PodInfo) -> int:
        return 1

    async with run_controller(api):
        await _start(client, notes, "amd64")
        annotations = {"kubectl-build/pod": "b-amd64-0"}
        metadata = {"name": "l", "labels": labels("b", "amd64"), "annotations": annotations, "creationTimestamp": "2026-01-02T03:04:05Z"}
        api.add(LEASES, {"metadata": metadata, "spec": {"holderIdentity": "ann@desk"}})

        result = await create_builder(client, "b", BuilderSpec(image="i:2"), active_builds=busy, emit=notes)

    assert "b-amd64-0" in result.busy
    assert any(text.startswith("pod b-amd64-0 builds for ann@desk (since 03:04 UTC); it keeps") for text in notes.texts)
