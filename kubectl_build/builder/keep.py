"""Asking autoscalers to leave a pod where it is while it builds.

Karpenter and the cluster autoscaler go by annotations of the pod. Any client whose build takes some time sets them, and the one that leaves
the daemon without builds takes them away, also those of a client that was killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from kubectl_build.builder import names
from kubectl_build.builder.state import PodInfo
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import PODS
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import ConnectionLost, Forbidden, KubectlBuildError
from kubectl_build.model.events import Note, Sink

KARPENTER = "karpenter.sh/do-not-disrupt"
CLUSTER_AUTOSCALER = "cluster-autoscaler.kubernetes.io/safe-to-evict"

_AFTER = 3.0
"""A build that is over by then has cost no request. What an autoscaler takes before that is built again soon."""


@asynccontextmanager
async def kept(client: KubeClient, pod: PodInfo, *, active: Callable[[], Awaitable[int]], emit: Sink) -> AsyncIterator[None]:
    """Ask autoscalers to leave `pod` while the body runs. `active` counts the builds of its daemon.

    Never raises an error of the cluster: where pods may not be patched that is one note.
    """
    ended = asyncio.Event()
    task = asyncio.create_task(_keep(client, pod, ended, active, emit), name=f"keep {pod.name}")
    try:
        yield
    except ConnectionLost:
        task.cancel()  # the daemon cannot be asked; a later build there takes the annotations away
        raise
    finally:
        ended.set()
        # Not cancelled at once: what is being set could not be taken away.
        try:
            await asyncio.wait({task}, timeout=deadlines().release)
        finally:
            task.cancel()
            await asyncio.wait({task})


async def _keep(client: KubeClient, pod: PodInfo, ended: asyncio.Event, active: Callable[[], Awaitable[int]], emit: Sink) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_AFTER):
            await ended.wait()
    try:
        if ended.is_set() and not pod.kept:
            return
        if not ended.is_set() and not await _mark(client, pod):
            return
        await ended.wait()
        if await active() == 0:
            await _annotate(client, pod, {KARPENTER: None, CLUSTER_AUTOSCALER: None, names.ANNOTATION_KEPT: None})
    except Forbidden:
        if not ended.is_set():
            emit(Note(text=f"autoscalers are not asked to leave pod {pod.name} while it builds: you may not patch pods"))
    except KubectlBuildError:
        return  # the pod or the link to it is gone; a later build on this pod takes the annotations away


async def _mark(client: KubeClient, pod: PodInfo) -> bool:
    """Whether the annotations are this program's to take away: not those that the builder was made with."""
    found = (await client.list(PODS, field_selector=f"metadata.name={pod.name}")).items
    annotations = found[0]["metadata"].get("annotations") or {} if found else {}
    if names.ANNOTATION_KEPT not in annotations and (KARPENTER in annotations or CLUSTER_AUTOSCALER in annotations):
        return False
    await _annotate(client, pod, {KARPENTER: "true", CLUSTER_AUTOSCALER: "false", names.ANNOTATION_KEPT: "true"})
    return True


async def _annotate(client: KubeClient, pod: PodInfo, annotations: dict[str, str | None]) -> None:
    # The uid makes it a conflict where another pod has the name by now.
    await client.patch(PODS, pod.name, {"metadata": {"uid": pod.uid, "annotations": annotations}}, namespace=pod.namespace)
