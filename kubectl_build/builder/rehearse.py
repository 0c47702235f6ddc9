"""`create --dry-run=server`: what the API server would make of a builder's objects. Nothing is changed."""

from __future__ import annotations

from collections.abc import Sequence

from kubectl_build.builder.objects import refuse_foreign
from kubectl_build.builder.together import together
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import CONFIGMAPS, NETWORKPOLICIES, SECRETS, STATEFULSETS
from kubectl_build.errors import NotFound
from kubectl_build.model.json import JsonObject

_RESOURCES = {resource.kind: resource for resource in (CONFIGMAPS, NETWORKPOLICIES, SECRETS, STATEFULSETS)}


async def rehearse(client: KubeClient, objects: Sequence[JsonObject], *, builder: str) -> list[JsonObject]:
    """The objects as the API server would store them, with its defaults and what admission adds.

    Raises ClusterError for one of the name that is not the builder's, Invalid for one that the server refuses, ApiError.
    """

    async def one(wanted: JsonObject) -> JsonObject:
        resource = _RESOURCES[wanted["kind"]]
        try:
            existing = await client.get(resource, wanted["metadata"]["name"])
        except NotFound:
            return _shown(await client.create(resource, wanted, dry_run=True))
        refuse_foreign(existing, resource, builder, client.namespace)
        # By force, since the fields that a build created are ours too, which an apply alone does not know.
        return _shown(await client.apply(resource, wanted, force=True, dry_run=True))

    return await together(*(one(item) for item in objects))


def _shown(item: JsonObject) -> JsonObject:
    """Without what the server keeps for itself."""
    metadata = {name: value for name, value in item["metadata"].items() if name != "managedFields"}
    return {**{name: value for name, value in item.items() if name != "status"}, "metadata": metadata}
