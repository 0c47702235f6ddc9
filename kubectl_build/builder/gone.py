"""Waiting for a builder's pods to end."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from kubectl_build.builder import names
from kubectl_build.builder.follow import follow
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import PODS
from kubectl_build.errors import ClusterError
from kubectl_build.model.events import Note, Sink
from kubectl_build.model.json import JsonObject


async def wait_gone(client: KubeClient, name: str, *, done: str, emit: Sink, deadline: float) -> None:
    """Wait until builder `name` has no pod any more. `done` is what has happened to it ("removed"); `deadline` is in seconds from now.

    Raises ClusterError with the pods that are still there, ApiError.
    """
    waiting: list[str] = []
    try:
        async with asyncio.timeout(deadline):
            async with aclosing(follow(client, PODS, label_selector=names.selector(name))) as snapshots:
                async for snapshot in snapshots:
                    if not snapshot:
                        break
                    waiting = [_where(pod, item) for pod, item in sorted(snapshot.items())]
                    emit(Note(text=f"waiting for the pods of builder {name} to end: {', '.join(waiting)}", level="wait"))
    except TimeoutError:
        left = f"its pods are still there: {', '.join(waiting)}" if waiting else "whether its pods are gone could not be seen in time"
        raise ClusterError(
            f'builder "{name}" is {done}, but {left}',
            hint=f"on a node that is lost they stay until: kubectl delete pod --force -n {client.namespace} -l {names.selector(name)}",
        ) from None
    finally:
        if waiting:
            emit(Note(text="", level="wait"))


def _where(name: str, pod: JsonObject) -> str:
    node = pod["spec"].get("nodeName")
    return f"{name} on node {node}" if node else name
