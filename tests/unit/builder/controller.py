"""A stand-in for the StatefulSet controller, scheduler and kubelets of a FakeKubeApi: pods come and go with their StatefulSets."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

from kubectl_build.builder.follow import follow
from kubectl_build.cluster.client import PODS, STATEFULSETS, KubeClient, open_client
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
async def run_controller(api: FakeKubeApi, make_status: MakeStatus | None = ready) -> AsyncIterator[None]:
    """Make the pods of every StatefulSet in namespace default until the block ends; with None for `make_status`, no pod is ever made."""
    async with open_client(api.connection()) as client, asyncio.TaskGroup() as group:
        task = group.create_task(_control(client, api, make_status))
        yield
        task.cancel()


async def _control(client: KubeClient, api: FakeKubeApi, make_status: MakeStatus | None) -> None:
    async with aclosing(follow(client, STATEFULSETS)) as snapshots:
        async for sets in snapshots:
            for name, item in sets.items():
                if make_status is not None:
                    for ordinal in range(item["spec"].get("replicas", 1)):
                        _make_pod(api, item, f"{name}-{ordinal}", make_status)
            owners = {item["metadata"]["uid"] for item in sets.values()}
            for (kind, _, pod_name), pod in list(api.objects.items()):
                references = pod["metadata"].get("ownerReferences") or ()
                if kind == PODS.qualified and references and references[0]["uid"] not in owners:
                    api.remove(PODS, pod_name)


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
