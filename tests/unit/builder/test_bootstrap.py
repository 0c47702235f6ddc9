from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from typing import Any

import pytest

from kubectl_build.builder.bootstrap import ensure_pools
from kubectl_build.builder.manifests import render
from kubectl_build.builder.spec import BuilderSpec
from kubectl_build.builder.state import PodInfo
from kubectl_build.cluster.client import CONFIGMAPS, EVENTS, NODES, PODS, STATEFULSETS, KubeClient
from kubectl_build.errors import BuilderNotReady, ClusterError, ConfigError, Forbidden, NotFound, UsageError
from kubectl_build.model.json import JsonObject
from kubectl_build.model.platform import parse_platforms
from tests.fakes.kube_api import FakeKubeApi, Fault
from tests.unit.builder.conftest import Notes, until
from tests.unit.builder.controller import READY, ready, run_controller, waiting


async def _ensure(
    client: KubeClient, notes: Notes, *architectures: str, spec: BuilderSpec | None = None, seconds: float = 20
) -> dict[str, tuple[PodInfo, ...]]:
    async def source() -> BuilderSpec:
        return spec or BuilderSpec()

    return await ensure_pools(client, "b", architectures, spec_source=source, emit=notes, deadline=seconds)


def _add_builder(api: FakeKubeApi, spec: BuilderSpec, pools: Sequence[str], **set_spec: Any) -> None:
    manifests = render("b", "default", spec, pools)
    api.add(CONFIGMAPS, manifests.config_map)
    for item in manifests.stateful_sets.values():
        item["spec"] |= set_spec
        api.add(STATEFULSETS, item)


def _writes(api: FakeKubeApi) -> list[str]:
    return [f"{request.method} {request.path.rpartition('/')[2]}" for request in api.requests if request.method != "GET"]


def _names(api: FakeKubeApi) -> list[str]:
    return sorted(f"{kind.split('.')[0]}/{name}" for kind, _, name in api.objects)


async def test_ensure_creates_the_builder_with_the_pools_asked_for(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    async with run_controller(api):
        pods = await _ensure(client, notes, "amd64", "arm64")

    assert {arch: [pod.name for pod in found] for arch, found in pods.items()} == {"amd64": ["b-amd64-0"], "arm64": ["b-arm64-0"]}
    assert _names(api) == [
        "configmaps/b",
        "networkpolicies/b",
        "pods/b-amd64-0",
        "pods/b-arm64-0",
        "statefulsets/b-amd64",
        "statefulsets/b-arm64",
    ]
    assert notes.texts[0].startswith('creating builder "b" in namespace "default": pool amd64, arm64, image ')


async def test_ensure_of_a_running_builder_writes_and_waits_for_nothing(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    async with run_controller(api):
        await _ensure(client, notes, "amd64")
    api.requests.clear()
    notes.clear()

    pods = await _ensure(client, notes, "amd64")

    assert [pod.name for pod in pods["amd64"]] == ["b-amd64-0"]
    assert len(api.requests) == 3
    assert _writes(api) == []
    assert notes == []


async def test_ensure_adds_a_pool_with_the_recorded_spec_not_with_the_defaults(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    _add_builder(api, BuilderSpec(image="recorded:1"), ["amd64"])
    async with run_controller(api):
        pods = await _ensure(client, notes, "arm64", spec=BuilderSpec(image="default:1"))

    assert [pod.image for pod in pods["arm64"]] == ["recorded:1"]
    assert _writes(api) == ["POST pods", "POST statefulsets"]  # the first is the dry run that tells which security level is admitted


async def test_ensure_twice_at_once_makes_one_builder(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    async with run_controller(api):
        first, second = await asyncio.gather(
            _ensure(client, notes, "amd64", spec=BuilderSpec(image="first:1")),
            _ensure(client, notes, "amd64", spec=BuilderSpec(image="second:1")),
        )

    assert first == second
    assert _names(api) == ["configmaps/b", "networkpolicies/b", "pods/b-amd64-0", "statefulsets/b-amd64"]
    recorded = api.find(CONFIGMAPS, "b")
    assert recorded is not None
    assert f"image: {first['amd64'][0].image}\n" in recorded["data"]["builder.yaml"]


async def test_ensure_refuses_a_pool_that_the_fixed_platforms_do_not_have(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    _add_builder(api, BuilderSpec(platforms=parse_platforms(["linux/amd64"])), ["amd64"])

    with pytest.raises(UsageError, match="gets no pool of architecture arm64: it was created for the platforms linux/amd64 only"):
        await _ensure(client, notes, "amd64", "arm64")
    assert _writes(api) == []


async def test_ensure_starts_a_stopped_pool_with_the_recorded_number_of_pods(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    _add_builder(api, BuilderSpec(replicas=2), ["amd64"], replicas=0)
    async with run_controller(api):
        await _ensure(client, notes, "amd64")

    stored = api.find(STATEFULSETS, "b-amd64")
    assert stored is not None
    assert stored["spec"]["replicas"] == 2
    assert "pool amd64 of builder b is stopped: starting it" in notes.texts


async def test_ensure_without_the_right_to_start_a_stopped_pool_says_so(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    _add_builder(api, BuilderSpec(), ["amd64"], replicas=0)
    api.fail("PATCH", "/statefulsets/", 403)

    with pytest.raises(BuilderNotReady, match='builder "b" is stopped and you may not start it'):
        await _ensure(client, notes, "amd64")


@pytest.mark.parametrize("scale", [True, False])
async def test_ensure_starts_a_stopped_pool_by_the_right_there_is(api: FakeKubeApi, client: KubeClient, notes: Notes, scale: bool) -> None:
    """People who build may scale only; people with the whole StatefulSet may not have been given its subresource."""
    _add_builder(api, BuilderSpec(), ["amd64"], replicas=0)
    if not scale:
        api.fail("PATCH", "/scale", 403)
    async with run_controller(api):
        await _ensure(client, notes, "amd64")

    patched = [request.path.rpartition("/")[2] for request in api.requests if request.method == "PATCH"]
    assert patched == (["scale"] if scale else ["scale", "b-amd64"])


async def test_ensure_lists_when_it_may_not_watch(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    api.faults.append(_watch_forbidden())
    _add_builder(api, BuilderSpec(), ["amd64"])
    manifests = render("b", "default", BuilderSpec(), ["amd64"])
    template = copy.deepcopy(manifests.stateful_sets["amd64"]["spec"]["template"])
    pod = {"metadata": {"name": "b-amd64-0", **template["metadata"]}, "spec": template["spec"]}
    api.add(PODS, pod)

    async with asyncio.TaskGroup() as group:
        ensuring = group.create_task(_ensure(client, notes, "amd64"))
        await until(lambda: any(request.query.get("watch") and "/pods" in request.path for request in api.requests))
        api.add(PODS, pod | {"status": copy.deepcopy(READY)})

    assert [found.name for found in ensuring.result()["amd64"]] == ["b-amd64-0"]


def _watch_forbidden() -> Fault:
    return Fault(matches=lambda request: request.query.get("watch") == "true", code=403, reason="Forbidden")


async def test_ensure_that_cannot_pull_the_image_fails_and_leaves_nothing(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    async with run_controller(api, waiting("ErrImagePull", "rpc error: code = NotFound desc = img: not found")):
        with pytest.raises(BuilderNotReady) as caught:
            await _ensure(client, notes, "amd64")

    assert caught.value.message == 'builder "b" cannot be started: image "img" of pod b-amd64-0 cannot be pulled: img: not found'
    assert caught.value.reason == "ErrImagePull"
    assert {"configmaps/b", "statefulsets/b-amd64"} & set(_names(api)) == set()
    assert 'waiting for builder b: image "img" of pod b-amd64-0 cannot be pulled: img: not found' in notes.texts


async def test_ensure_that_fails_keeps_what_was_there_before(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    _add_builder(api, BuilderSpec(), ["amd64"])
    async with run_controller(api, waiting("InvalidImageName", "bad")):
        with pytest.raises(BuilderNotReady):
            await _ensure(client, notes, "amd64", "arm64")

    assert {"configmaps/b", "statefulsets/b-amd64"} <= set(_names(api))
    assert "statefulsets/b-arm64" not in _names(api)


async def test_ensure_that_fails_for_one_pool_keeps_the_one_that_is_ready(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    broken = waiting("InvalidImageName", "bad")

    def status(pod: JsonObject) -> JsonObject | None:
        return broken(pod) if "arm64" in pod["metadata"]["name"] else ready(pod)

    async with run_controller(api, status):
        with pytest.raises(BuilderNotReady):
            await _ensure(client, notes, "amd64", "arm64")

    assert {"configmaps/b", "statefulsets/b-amd64"} <= set(_names(api))
    assert "statefulsets/b-arm64" not in _names(api)


async def test_ensure_reaches_its_deadline_with_the_reason_for_waiting(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"}
    async with run_controller(api, lambda pod: {"phase": "Pending", "conditions": [condition]}):
        with pytest.raises(BuilderNotReady) as caught:
            await _ensure(client, notes, "amd64", seconds=0.2)

    assert caught.value.message == 'builder "b" did not start in time: no node can take pod b-amd64-0 now: 0/1 nodes are available'
    assert caught.value.reason == "Unschedulable"


async def test_ensure_tells_pod_security_from_the_events(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    _add_builder(api, BuilderSpec(), ["amd64"])
    stored = api.find(STATEFULSETS, "b-amd64")
    assert stored is not None
    about = {"name": "b-amd64", "uid": stored["metadata"]["uid"]}
    message = 'create Pod b-amd64-0 failed error: pods "b-amd64-0" is forbidden: violates PodSecurity "restricted:latest": x'
    api.add(EVENTS, {"metadata": {"name": "e"}, "involvedObject": about, "reason": "FailedCreate", "message": message})

    with pytest.raises(BuilderNotReady, match='namespace "default" does not admit the pods of a builder') as caught:
        await _ensure(client, notes, "amd64")
    assert caught.value.hint is not None
    assert "pod-security.kubernetes.io/enforce=privileged" in caught.value.hint


async def test_ensure_makes_a_pool_anew_that_another_client_takes_away(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    """Another client that made the pool was cancelled and removes it, while this one waits for it too."""
    _add_builder(api, BuilderSpec(), ["amd64"])
    async with asyncio.TaskGroup() as group:
        ensuring = group.create_task(_ensure(client, notes, "amd64"))
        await until(lambda: any("has made no pod yet" in text for text in notes.texts))
        api.remove(STATEFULSETS, "b-amd64")
        api.remove(CONFIGMAPS, "b")
        async with run_controller(api):
            await ensuring

    assert [pod.name for pod in ensuring.result()["amd64"]] == ["b-amd64-0"]
    assert "configmaps/b" in _names(api)


async def test_ensure_that_is_cancelled_removes_what_it_made(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    async with run_controller(api, lambda pod: None):
        task = asyncio.ensure_future(_ensure(client, notes, "amd64"))
        await until(lambda: any("preparing pod" in text for text in notes.texts))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert {"configmaps/b", "statefulsets/b-amd64"} & set(_names(api)) == set()


async def test_ensure_in_a_namespace_that_is_not_there_says_so(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    api.namespaces = {"kube-public"}

    with pytest.raises(NotFound, match='namespace "default" does not exist'):
        await _ensure(client, notes, "amd64")


async def test_ensure_without_the_right_to_create_pools_leaves_no_config_map(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    api.fail("POST", "/statefulsets", 403, message="no")

    with pytest.raises(Forbidden):
        await _ensure(client, notes, "amd64")
    assert _names(api) == []


async def test_ensure_refuses_a_config_map_of_somebody_else(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    api.add(CONFIGMAPS, {"metadata": {"name": "b"}})

    with pytest.raises(ClusterError, match='ConfigMap "b" in namespace "default" is there, but does not belong to builder "b"'):
        await _ensure(client, notes, "amd64")
    assert _names(api) == ["configmaps/b"]


async def test_ensure_refuses_a_statefulset_of_somebody_else(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    api.add(STATEFULSETS, {"metadata": {"name": "b-amd64"}, "spec": {}})

    with pytest.raises(ClusterError, match=r'no StatefulSet "b-amd64".*belongs to something else'):
        await _ensure(client, notes, "amd64")
    assert _names(api) == ["statefulsets/b-amd64"]


async def test_ensure_needs_a_spec_that_it_understands_to_add_a_pool(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    _add_builder(api, BuilderSpec(), ["amd64"])
    stored = api.find(CONFIGMAPS, "b")
    assert stored is not None
    api.add(CONFIGMAPS, stored | {"data": {"builder.yaml": "fromTheFuture: 1"}})

    with pytest.raises(ConfigError, match='"fromTheFuture"'):
        await _ensure(client, notes, "arm64")


async def test_ensure_tells_of_outdated_pods_and_uses_them(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    async with run_controller(api):
        await _ensure(client, notes, "amd64")
    changed = render("b", "default", BuilderSpec(image="new:1"), ["amd64"]).stateful_sets["amd64"]
    api.add(STATEFULSETS, changed)
    notes.clear()

    pods = await _ensure(client, notes, "amd64")

    assert pods["amd64"][0].outdated
    assert notes.texts == ["b-amd64-0 of builder b runs an earlier configuration; kubectl buildkit create replaces it when it is idle"]


@pytest.mark.parametrize("lost", [True, False])
async def test_ensure_removes_a_pod_that_terminates_on_a_lost_node_only(
    api: FakeKubeApi, client: KubeClient, notes: Notes, lost: bool
) -> None:
    async with run_controller(api):
        await _ensure(client, notes, "amd64")
    pod = api.find(PODS, "b-amd64-0")
    assert pod is not None
    status = {"conditions": [{"type": "Ready", "status": "Unknown" if lost else "True"}]}
    api.add(NODES, {"metadata": {"name": "node-1"}, "status": status})
    api.add(PODS, pod | {"metadata": pod["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:00Z"}})

    async with run_controller(api):
        if lost:
            pods = await _ensure(client, notes, "amd64")
            assert pods["amd64"][0].uid != pod["metadata"]["uid"]
            assert "node node-1 is lost: pod b-amd64-0 is removed without it" in notes.texts
        else:
            with pytest.raises(BuilderNotReady, match="pod b-amd64-0 on node node-1 is still terminating"):
                await _ensure(client, notes, "amd64", seconds=0.2)
            assert api.find(PODS, "b-amd64-0") is not None


@pytest.mark.parametrize("fault", [{"code": 403}, {"code": 500}])
async def test_ensure_passes_on_what_keeps_it_from_looking(
    api: FakeKubeApi, client: KubeClient, notes: Notes, fault: dict[str, int]
) -> None:
    api.fail("GET", "/pods", **fault)

    with pytest.raises(ClusterError):
        await _ensure(client, notes, "amd64")
