"""`rm`: removing builders, all of theirs and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from kubectl_build.builder import names
from kubectl_build.builder.claims import settle_claims
from kubectl_build.builder.gone import wait_gone
from kubectl_build.builder.objects import delete_same
from kubectl_build.builder.together import together
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import CONFIGMAPS, LEASES, NETWORKPOLICIES, PODS, SECRETS, STATEFULSETS, Resource
from kubectl_build.errors import ClusterError, Conflict, Forbidden, NotFound
from kubectl_build.model.events import Note, Sink
from kubectl_build.model.json import JsonObject

_AT_ONCE_SECONDS = 1
"""The shortest time to end that a kubelet still carries out; 0 would only forget the pod."""


async def remove_builders(
    client: KubeClient, builders: Sequence[str], *, ignore_not_found: bool = False, force: bool = False, emit: Sink, deadline: float
) -> tuple[str, ...]:
    """Remove `builders` and wait until their pods are gone; return the names of those that were there.

    Those that are there are removed even if others are not. A pod that builds may finish first, within its grace period; with `force` it
    may not. `deadline` is in seconds from now. Raises ClusterError for names that are not there (unless ignored) and for pods that stay
    until the deadline, ApiError.
    """
    for name in builders:
        names.check_builder_name(name)
    wanted = list(dict.fromkeys(builders))
    found = dict(zip(wanted, await together(*(_remove(client, name, force=force, emit=emit) for name in wanted)), strict=True))
    removed = tuple(name for name in wanted if found[name])
    await together(*(wait_gone(client, name, done="removed", emit=emit, deadline=deadline) for name in removed))
    unknown = [name for name in wanted if not found[name]]
    if unknown and not ignore_not_found:
        quoted = ", ".join(f'"{name}"' for name in unknown)
        raise ClusterError(
            f'builder {quoted} is not there in namespace "{client.namespace}"', hint="kubectl buildkit ls -A lists the builders there are"
        )
    return removed


async def _remove(client: KubeClient, name: str, *, force: bool, emit: Sink) -> bool:
    """Delete every object of the instance; whether there was any. Pods that no StatefulSet owns any more are deleted too."""
    selector = names.selector(name)
    sets, config_maps, pods = await together(*(_list(client, resource, selector) for resource in (STATEFULSETS, CONFIGMAPS, PODS)))
    secrets = await _secrets(client, name, selector, sets)
    if force:
        await end_pods(client, pods)
    # The pools first: a failure on the way leaves the ConfigMap, by which the builder is still found.
    await together(*(delete_same(client, STATEFULSETS, item) for item in sets))
    owned = {item["metadata"]["uid"] for item in sets}
    strays = [pod for pod in pods if not any(owner.get("uid") in owned for owner in pod["metadata"].get("ownerReferences") or ())]
    await together(*(delete_same(client, PODS, pod) for pod in strays))
    await settle_claims(client, name, sets, emit)
    await together(*(delete_same(client, SECRETS, item) for item in secrets))
    try:
        policies = await _list(client, NETWORKPOLICIES, selector)
        await together(*(delete_same(client, NETWORKPOLICIES, item) for item in policies))
    except Forbidden:
        emit(Note(text=f'NetworkPolicy "{name}", if there is one, is left: you may not delete network policies'))
    await together(*(delete_same(client, CONFIGMAPS, item) for item in config_maps))
    await _delete_leases(client, selector)
    return bool(sets or config_maps or pods)


async def end_pods(client: KubeClient, pods: Sequence[JsonObject]) -> None:
    """Delete `pods` without the time in which their daemons would finish what they build. Raises ApiError.

    To be done before their StatefulSet is deleted or scaled down: a kubelet that has begun to wait for a daemon does not stop waiting.
    """

    async def end(pod: JsonObject) -> None:
        with suppress(NotFound, Conflict):
            await client.delete(PODS, pod["metadata"]["name"], uid=pod["metadata"]["uid"], grace_period=_AT_ONCE_SECONDS)

    await together(*(end(pod) for pod in pods))


async def _delete_leases(client: KubeClient, selector: str) -> None:
    """Those of builds whose clients did not: they would go with the pods, only later."""
    with suppress(Forbidden):
        await together(*(delete_same(client, LEASES, item) for item in await _list(client, LEASES, selector)))


async def _list(client: KubeClient, resource: Resource, selector: str) -> list[JsonObject]:
    return list((await client.list(resource, label_selector=selector)).items)


async def _secrets(client: KubeClient, name: str, selector: str, sets: Sequence[JsonObject]) -> list[JsonObject]:
    """The builder's Secrets; a user who may not list Secrets can still delete the one that the builder's own pods mount."""
    try:
        return await _list(client, SECRETS, selector)
    except Forbidden:
        own = names.certificates_name(name)
        volumes = [volume for item in sets for volume in item["spec"]["template"]["spec"].get("volumes") or ()]
        sources = [source for volume in volumes for source in (volume.get("projected") or {}).get("sources") or ()]
        mounted = any((source.get("secret") or {}).get("name") == own for source in sources)
        return [{"metadata": {"name": own, "uid": None}}] if mounted else []
