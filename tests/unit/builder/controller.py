"""A stand-in for the StatefulSet controller, scheduler and kubelets of a FakeKubeApi: pods come and go with their StatefulSets."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

from kubectl_build.builder.follow import follow
from kubectl_build.cluster.client import PODS, STATEFULSETS, KubeClient, Resource, open_client
from kubectl_build.model.json import JsonObject
from tests.fakes.kube_api import FakeKubeApi

MakeStatus = Callable[[JsonObject], JsonObject | None]
"""Gives a new pod its status; None leaves it without one."""

READY: JsonObject = {
    "phase": "Running",
    "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}],
    "containerStatuses": [{"name": "buildkitd", "ready": True, "state": {"running": {"startedAt": "2026-01-02T03:04:05Z"}}}],
}


def ready(_pod: JsonObject) -> JsonObject | None:
    """The status of a pod that has started."""
    return copy.deepcopy(READY)


def waiting(reason: str, message: str) -> MakeStatus:
    """The status of a pod whose container waits."""
    state = {"name": "buildkitd", "image": "img", "ready": False, "state": {"waiting": {"reason": reason, "message": message}}}
    return lambda _pod: {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "True"}],
        "containerStatuses": [state],
    }


@asynccontextmanager
async def run_controller(api: FakeKubeApi, make_status: MakeStatus = ready) -> AsyncIterator[None]:
    """Make the pods of every StatefulSet until the block ends."""

    async def reconcile_on_changes(client: KubeClient, resource: Resource) -> None:
        async with aclosing(follow(client, resource)) as snapshots:
            async for _snapshot in snapshots:
                _reconcile(api, make_status)

    async with open_client(api.connection()) as client, asyncio.TaskGroup() as group:
        tasks = [group.create_task(reconcile_on_changes(client, resource)) for resource in (STATEFULSETS, PODS)]
        yield
        for task in tasks:
            task.cancel()


def _reconcile(api: FakeKubeApi, make_status: MakeStatus) -> None:
    sets = {item["metadata"]["uid"]: item for (kind, *_), item in api.objects.items() if kind == STATEFULSETS.qualified}
    for (kind, _, name), pod in list(api.objects.items()):
        owners = pod["metadata"].get("ownerReferences") or ()
        if kind == PODS.qualified and owners and not _is_wanted(name, sets.get(owners[0]["uid"])):
            api.remove(PODS, name)
    for item in sets.values():
        for ordinal in range(item["spec"].get("replicas", 1)):
            _make_pod(api, item, f"{item['metadata']['name']}-{ordinal}", make_status)


def _is_wanted(pod: str, owner: JsonObject | None) -> bool:
    return owner is not None and int(pod.rpartition("-")[2]) < owner["spec"].get("replicas", 1)


def _make_pod(api: FakeKubeApi, owner: JsonObject, name: str, make_status: MakeStatus) -> None:
    if api.find(PODS, name) is not None:
        return
    template = copy.deepcopy(owner["spec"]["template"])
    pod = {
        "metadata": {"name": name, "ownerReferences": [{"uid": owner["metadata"]["uid"]}], **template["metadata"]},
        "spec": {**template["spec"], "nodeName": "node-1"},
    }
    status = make_status(pod)
    api.add(PODS, pod | ({"status": status} if status else {}))
