"""A collection of objects, followed: by a watch, or by a list every 3 s where watching is forbidden."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import Resource
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import ApiError, ApiUnreachable, ClusterError, Forbidden, Gone
from kubectl_build.model.json import JsonObject

_LIST_INTERVAL = 3.0
_PAUSE = 0.5
"""Between two watches, so that a proxy that ends every stream at once does not make us ask without rest."""


async def follow(
    client: KubeClient, resource: Resource, *, label_selector: str = "", field_selector: str = ""
) -> AsyncGenerator[Mapping[str, JsonObject], None]:
    """Yield the objects by name, first as they are now, then after every change. Never ends by itself: close it (aclosing).

    An API server that was there and goes away, as one that restarts, is waited for. Raises ApiError, Forbidden when the list is not
    allowed, ApiUnreachable.
    """
    clock = asyncio.get_running_loop().time
    may_watch, until = True, 0.0
    while True:
        try:
            listed = await client.list(resource, label_selector=label_selector, field_selector=field_selector)
        except (ApiUnreachable, ApiError) as error:
            if clock() >= until or not _may_pass(error):
                raise
            await asyncio.sleep(_PAUSE)
            continue
        objects = {item["metadata"]["name"]: item for item in listed.items}
        yield dict(objects)
        until = clock() + deadlines().reconnect
        if may_watch:
            watch = client.watch(
                resource, label_selector=label_selector, field_selector=field_selector, resource_version=listed.resource_version
            )
            try:
                async with aclosing(watch) as events:
                    async for event in events:
                        _apply(objects, event.type, event.object)
                        yield dict(objects)
            except Forbidden:
                may_watch = False
            except (Gone, ApiUnreachable):
                pass
            except ApiError as error:
                if not _may_pass(error):
                    raise
            until = clock() + deadlines().reconnect
        await asyncio.sleep(_PAUSE if may_watch else _LIST_INTERVAL)


def _may_pass(error: ClusterError) -> bool:
    """Whether the API server or its store is away for the moment."""
    return not isinstance(error, ApiError) or error.status >= 500 or error.status == 429


def _apply(objects: dict[str, JsonObject], kind: str, item: JsonObject) -> None:
    if kind in ("ADDED", "MODIFIED"):
        objects[item["metadata"]["name"]] = item
    elif kind == "DELETED":
        objects.pop(item["metadata"]["name"], None)
