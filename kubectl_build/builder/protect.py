"""The builder's NetworkPolicy. A user who may not write these is told, and the builder works without: no port is open in its pods."""

from __future__ import annotations

from kubectl_build.builder.apply import apply_object, take_over
from kubectl_build.builder.objects import create_if_missing
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import NETWORKPOLICIES
from kubectl_build.errors import Forbidden, NotFound
from kubectl_build.model.events import Note, Sink
from kubectl_build.model.json import JsonObject


async def create_policy(client: KubeClient, policy: JsonObject, emit: Sink) -> JsonObject | None:
    """Create `policy` and return it; None when one of its name is there, or it may not be made. Raises ApiError."""
    try:
        return await create_if_missing(client, NETWORKPOLICIES, policy)
    except Forbidden:
        emit(_forbidden(policy))
        return None


async def apply_policy(client: KubeClient, policy: JsonObject, emit: Sink, *, builder: str) -> tuple[JsonObject | None, bool]:
    """Make `policy` so. Returns it when it was made here, and whether anything changed. Raises ClusterError for a foreign one, ApiError."""
    name = policy["metadata"]["name"]
    try:
        try:
            existing = await client.get(NETWORKPOLICIES, name)
        except NotFound:
            return await apply_object(client, NETWORKPOLICIES, policy, None, builder=builder), True
        existing = await take_over(client, NETWORKPOLICIES, policy, existing, builder=builder)
        result = await apply_object(client, NETWORKPOLICIES, policy, existing, builder=builder)
        return None, result["metadata"].get("generation") != existing["metadata"].get("generation")
    except Forbidden:
        emit(_forbidden(policy))
        return None, False


def _forbidden(policy: JsonObject) -> Note:
    return Note(text=f'NetworkPolicy "{policy["metadata"]["name"]}" is not made: you may not write network policies')
