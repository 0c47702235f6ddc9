"""Bringing one object to the state wanted, so that of two writers at once one is told, and nothing of ours is left behind.

Server-side apply with our field manager and the resourceVersion that was read. Objects that a build made were created, not applied, and
fields that came by create are never removed by apply: so their ownership is first turned into that of an apply, as kubectl does when
it migrates from client-side apply (client-go util/csaupgrade).
"""

from __future__ import annotations

from typing import Any

from kubectl_build.builder.objects import create_if_missing, refuse_foreign
from kubectl_build.builder.start import SCALE
from kubectl_build.cluster.client import FIELD_MANAGER, KubeClient
from kubectl_build.cluster.resources import Resource
from kubectl_build.errors import Conflict, Invalid
from kubectl_build.model.json import JsonObject

_TRIES = 5
"""A StatefulSet's controller writes its status at any time, which makes the resourceVersion that was read an old one."""


async def take_over(client: KubeClient, resource: Resource, wanted: JsonObject, existing: JsonObject, *, builder: str) -> JsonObject:
    """Make all that is ours of `existing` ours by apply, which changes nothing else, and return it as it is then: see the module.

    `spec.replicas` is given up when `wanted` does not have it, so that it stays as it is. Raises ClusterError when the object is not the
    builder's, Conflict when somebody changed it since it was read, ApiError.
    """
    refuse_foreign(existing, resource, builder, client.namespace)
    name = wanted["metadata"]["name"]
    for _ in range(_TRIES):
        managed = adopted(existing["metadata"].get("managedFields") or [], keep_replicas="replicas" not in (wanted.get("spec") or {}))
        if managed is None:
            return existing
        version = existing["metadata"]["resourceVersion"]
        try:
            return await client.patch(resource, name, {"metadata": {"managedFields": managed, "resourceVersion": version}})
        except Conflict as exc:
            existing = await _again(client, resource, existing, exc)
    raise conflict(client, resource, name, "its status changes without end")


async def apply_object(
    client: KubeClient, resource: Resource, wanted: JsonObject, existing: JsonObject | None, *, builder: str, dry_run: bool = False
) -> JsonObject:
    """Create `wanted` when `existing` (as `take_over` returned it) is None, else make `existing` so; return the object as it is then.

    With `dry_run` the server only checks. Raises Conflict when somebody else changed the object since it was read or manages one of its
    fields, ClusterError when one of its name is there that is not the builder's, Invalid for what cannot be changed, ApiError.
    """
    if existing is None:
        return wanted if dry_run else await _create(client, resource, wanted, builder)
    name = wanted["metadata"]["name"]
    try:
        for _ in range(_TRIES):
            metadata = {**wanted["metadata"], "resourceVersion": existing["metadata"]["resourceVersion"]}
            try:
                return await client.apply(resource, {**wanted, "metadata": metadata}, dry_run=dry_run)
            except Conflict as exc:
                existing = await _again(client, resource, existing, exc)
    except Invalid as exc:
        raise Invalid(
            f'{resource.kind} "{name}" in namespace "{client.namespace}" cannot be changed so: {exc.message}',
            status=exc.status,
            reason=exc.reason,
            hint=f"if the builder is to be made anew: kubectl buildkit rm {builder} -n {client.namespace}",
        ) from exc
    raise conflict(client, resource, name, "its status changes without end")


async def _again(client: KubeClient, resource: Resource, read: JsonObject, error: Conflict) -> JsonObject:
    """The object as it is now, when its resourceVersion is newer only by a status. Raises Conflict when there is more to it."""
    name = read["metadata"]["name"]
    now = await client.get(resource, name)
    if not _same_but_status(read, now):
        raise conflict(client, resource, name, error.message) from error
    return now


def conflict(client: KubeClient, resource: Resource, name: str, why: str) -> Conflict:
    """The error for an object that somebody else changes at the same time; `why` is how that was seen."""
    return Conflict(
        f'{resource.kind} "{name}" in namespace "{client.namespace}" was not changed, as somebody else changes it too: {why}',
        status=409,
        reason="Conflict",
        hint="look at what was changed (kubectl buildkit inspect), then run the command again",
    )


def _same_but_status(read: JsonObject, now: JsonObject) -> bool:
    """Whether a newer resourceVersion comes from a status only: the generation is the version of what people ask for.

    The same resourceVersion means that the conflict was about a field, not about the version.
    """
    before, after = read["metadata"], now["metadata"]
    is_newer = before["resourceVersion"] != after["resourceVersion"]
    return is_newer and "generation" in after and all(before.get(key) == after.get(key) for key in ("uid", "generation"))


async def _create(client: KubeClient, resource: Resource, wanted: JsonObject, builder: str) -> JsonObject:
    created = await create_if_missing(client, resource, wanted)
    if created is not None:
        return created
    name = wanted["metadata"]["name"]
    existing = await client.get(resource, name)
    refuse_foreign(existing, resource, builder, client.namespace)
    if _says(existing, wanted):
        return existing
    raise Conflict(
        f'{resource.kind} "{name}" in namespace "{client.namespace}" was made by somebody else at the same time, and differently',
        status=409,
        reason="AlreadyExists",
        hint="look at what was made (kubectl buildkit inspect), then run the command again",
    )


def _says(existing: Any, wanted: Any) -> bool:
    """Whether `existing` says all that `wanted` says; the server adds defaults."""
    if isinstance(wanted, dict):
        return isinstance(existing, dict) and all(key in existing and _says(existing[key], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        same_length = isinstance(existing, list) and len(existing) == len(wanted)
        return same_length and all(_says(there, here) for there, here in zip(existing, wanted, strict=True))
    return bool(existing == wanted)


def adopted(managed: list[JsonObject], *, keep_replicas: bool) -> list[JsonObject] | None:
    """The managedFields with all of ours in one entry of operation Apply, or None when they are so already.

    With `keep_replicas` we own no `spec.replicas`, so that an apply without it leaves it alone.
    """
    ours = [entry for entry in managed if entry.get("manager") == FIELD_MANAGER and not entry.get("subresource")]
    # What starting a stopped pool has left: to the API server another writer than we are.
    scaled = [entry for entry in managed if entry.get("manager") == FIELD_MANAGER and entry.get("subresource") == SCALE]
    if not ours:
        return None
    fields: JsonObject = {}
    for entry in ours:
        fields = _union(fields, entry.get("fieldsV1") or {})
    if keep_replicas:
        fields = _without(fields, ("f:spec", "f:replicas"))
    if not scaled and len(ours) == 1 and ours[0].get("operation") == "Apply" and fields == ours[0].get("fieldsV1"):
        return None
    others = [entry for entry in managed if entry not in ours and entry not in scaled]
    return [*others, {**ours[0], "operation": "Apply", "fieldsV1": fields}]


def _union(left: JsonObject, right: JsonObject) -> JsonObject:
    result = dict(left)
    for key, value in right.items():
        result[key] = _union(result[key], value) if isinstance(result.get(key), dict) and isinstance(value, dict) else value
    return result


def _without(fields: JsonObject, path: tuple[str, ...]) -> JsonObject:
    key, *rest = path
    if key not in fields:
        return fields
    if not rest:
        return {name: value for name, value in fields.items() if name != key}
    return {**fields, key: _without(fields[key], tuple(rest))}
