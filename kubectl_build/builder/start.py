"""Starting a pool that was stopped, with no more rights than that takes."""

from __future__ import annotations

from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import STATEFULSETS
from kubectl_build.errors import Forbidden

SCALE = "scale"


async def start_pool(client: KubeClient, name: str, *, replicas: int) -> None:
    """Scale the StatefulSet `name` up, by its subresource: whoever may only build must not be able to change what the pods are.

    Whoever may change the whole, but was not given the subresource, does that. Raises Forbidden, NotFound, ApiError.
    """
    wanted = {"spec": {"replicas": replicas}}
    try:
        await client.patch(STATEFULSETS, name, wanted, subresource=SCALE)
    except Forbidden as missing:
        try:
            await client.patch(STATEFULSETS, name, wanted)
        except Forbidden:
            raise missing from None
