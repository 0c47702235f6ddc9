"""Asking autoscalers to leave a pod that builds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import pytest

from kubectl_build.builder import keep, names
from kubectl_build.builder.keep import CLUSTER_AUTOSCALER, KARPENTER, kept
from kubectl_build.builder.state import PodInfo, pod_info
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import PODS
from kubectl_build.errors import ConnectionLost
from tests.fakes.kube_api import FakeKubeApi
from tests.unit.builder.conftest import Notes, until

_SET = {KARPENTER: "true", CLUSTER_AUTOSCALER: "false", names.ANNOTATION_KEPT: "true"}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "_AFTER", 0.0)


def add_pod(api: FakeKubeApi, annotations: Mapping[str, str] = {}) -> PodInfo:
    labels = names.labels("b", "amd64")
    metadata = {"name": "b-amd64-0", "namespace": "default", "labels": labels, "annotations": {"own": "1", **annotations}}
    return pod_info(api.add(PODS, {"metadata": metadata, "spec": {}, "status": {}}))


def marks(api: FakeKubeApi) -> dict[str, str]:
    pod = api.find(PODS, "b-amd64-0")
    assert pod is not None
    found: dict[str, str] = pod["metadata"]["annotations"]
    return found


def running(count: int) -> Callable[[], Awaitable[int]]:
    async def active() -> int:
        return count

    return active


async def test_pod_has_the_annotations_while_it_builds(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    async with kept(client, add_pod(api), active=running(0), emit=notes):
        await until(lambda: marks(api).keys() >= _SET.keys())
        assert marks(api) == {"own": "1", **_SET}

    assert marks(api) == {"own": "1"}
    assert notes.texts == []


async def test_pod_that_builds_for_others_too_keeps_the_annotations(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    async with kept(client, add_pod(api), active=running(1), emit=notes):
        await until(lambda: marks(api).keys() >= _SET.keys())

    assert marks(api) == {"own": "1", **_SET}


async def test_annotations_that_the_builder_was_made_with_stay(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    async with kept(client, add_pod(api, {KARPENTER: "true"}), active=running(0), emit=notes):
        await until(lambda: any(request.method == "GET" for request in api.requests))

    assert marks(api) == {"own": "1", KARPENTER: "true"}


async def test_short_build_asks_nothing(api: FakeKubeApi, client: KubeClient, notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "_AFTER", 60.0)

    async with kept(client, add_pod(api), active=running(0), emit=notes):
        await asyncio.sleep(0)

    assert api.requests == []


async def test_short_build_takes_away_what_a_killed_client_has_left(
    api: FakeKubeApi, client: KubeClient, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keep, "_AFTER", 60.0)

    async with kept(client, add_pod(api, _SET), active=running(0), emit=notes):
        await asyncio.sleep(0)

    assert marks(api) == {"own": "1"}


async def test_right_that_is_missing_is_one_note_and_no_error(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    api.fail("PATCH", "/pods/", 403, reason="Forbidden")

    async with kept(client, add_pod(api), active=running(0), emit=notes):
        await until(lambda: notes.texts)

    assert notes.texts == ["autoscalers are not asked to leave pod b-amd64-0 while it builds: you may not patch pods"]


async def test_daemon_that_cannot_be_asked_any_more_leaves_the_annotations(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    async def active() -> int:
        raise ConnectionLost("gone")

    async with kept(client, add_pod(api), active=active, emit=notes):
        await until(lambda: marks(api).keys() >= _SET.keys())

    assert marks(api) == {"own": "1", **_SET}


async def test_another_pod_of_the_name_is_not_touched(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    pod = add_pod(api)
    api.remove(PODS, pod.name)
    add_pod(api)

    async with kept(client, pod, active=running(0), emit=notes):
        await until(lambda: any(request.method == "PATCH" for request in api.requests))

    assert marks(api) == {"own": "1"}
