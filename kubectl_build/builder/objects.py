"""One object of a builder at a time: created only if missing, deleted only if it is still the same, refused if it is somebody else's."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from kubectl_build.builder import names
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import Resource
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import AlreadyExists, ClusterError, Conflict, KubectlBuildError, NotFound
from kubectl_build.model.json import JsonObject


async def create_if_missing(client: KubeClient, resource: Resource, item: JsonObject) -> JsonObject | None:
    """Create `item` and return it; None when one of its name is there already. Raises ApiError.

    Being cancelled leaves nothing either: the server may have made it before its answer is here, so that is waited for and undone.
    """
    creation = asyncio.ensure_future(client.create(resource, item))
    try:
        return await asyncio.shield(creation)
    except AlreadyExists:
        return None
    except asyncio.CancelledError:
        await _undo(client, resource, creation)
        raise


async def _undo(client: KubeClient, resource: Resource, creation: asyncio.Future[JsonObject]) -> None:
    try:
        with suppress(KubectlBuildError, TimeoutError):
            async with asyncio.timeout(deadlines().cleanup):
                await delete_same(client, resource, await creation)
    finally:
        creation.cancel()


async def delete_same(client: KubeClient, resource: Resource, item: JsonObject) -> None:
    """Delete `item` unless it is gone, or another one has its name since it was read. Raises ApiError."""
    with suppress(NotFound, Conflict):
        await client.delete(resource, item["metadata"]["name"], uid=item["metadata"]["uid"])


def refuse_foreign(existing: JsonObject, resource: Resource, builder: str, namespace: str) -> None:
    """Raise ClusterError when an object that has the name of one of the builder's does not belong to it."""
    found = existing["metadata"].get("labels") or {}
    if any(found.get(key) != value for key, value in names.labels(builder).items()):
        raise ClusterError(
            f'{resource.kind} "{existing["metadata"]["name"]}" in namespace "{namespace}" is there, '
            f'but does not belong to builder "{builder}"',
            hint="choose another name for the builder",
        )
