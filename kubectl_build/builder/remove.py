"""`rm`: removing builders, all of theirs and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing, suppress

from kubectl_build.builder import names
from kubectl_build.builder.follow import follow
from kubectl_build.builder.objects import delete_same
from kubectl_build.builder.together import together
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import CONFIGMAPS, NETWORKPOLICIES, PODS, SECRETS, STATEFULSETS, Resource
from kubectl_build.errors import ClusterError, Forbidden
from kubectl_build.model.events import Note, Sink
from kubectl_build.model.json import JsonObject


async def remove_builders(
    client: KubeClient, builders: Sequence[str], *, ignore_not_found: bool = False, emit: Sink, deadline: float
) -> tuple[str, ...]:
    """Remove `builders` and wait until their pods are gone; return the names of those that were there.

    Those that are there are removed even if others are not. A pod that builds may finish first, within its grace period. `deadline` is in
    seconds from now. Raises ClusterError for names that are not there (unless ignored) and for pods that are still there at the
    deadline, ApiError.
    """
    for name in builders:
        names.check_builder_name(name)
    wanted = list(dict.fromkeys(builders))
    found = dict(zip(wanted, await together(*(_remove(client, name) for name in wanted)), strict=True))
    removed = tuple(name for name in wanted if found[name])
    await together(*(_wait_gone(client, name, emit, deadline) for name in removed))
    unknown = [name for name in wanted if not found[name]]
    if unknown and not ignore_not_found:
        quoted = ", ".join(f'"{name}"' for name in unknown)
        raise ClusterError(
            f'builder {quoted} is not there in namespace "{client.namespace}"', hint="kubectl buildkit ls -A lists the builders there are"
        )
    return removed


async def _remove(client: KubeClient, name: str) -> bool:
    """Delete every object of the instance; whether there was any. Pods that no StatefulSet owns any more are deleted too."""
    selector = names.selector(name)
    sets, config_maps, pods = await together(*(_list(client, resource, selector) for resource in (STATEFULSETS, CONFIGMAPS, PODS)))
    secrets = await _secrets(client, name, selector, sets)
    # The pools first: a failure on the way leaves the ConfigMap, by which the builder is still found.
    await together(*(delete_same(client, STATEFULSETS, item) for item in sets))
    owned = {item["metadata"]["uid"] for item in sets}
    strays = [pod for pod in pods if not any(owner.get("uid") in owned for owner in pod["metadata"].get("ownerReferences") or ())]
    await together(*(delete_same(client, PODS, pod) for pod in strays))
    await together(*(delete_same(client, SECRETS, item) for item in secrets))
    with suppress(Forbidden):
        policies = await _list(client, NETWORKPOLICIES, selector)
        await together(*(delete_same(client, NETWORKPOLICIES, item) for item in policies))
    await together(*(delete_same(client, CONFIGMAPS, item) for item in config_maps))
    return bool(sets or config_maps or pods)


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


async def _wait_gone(client: KubeClient, name: str, emit: Sink, deadline: float) -> None:
    waiting: list[str] = []
    try:
        async with asyncio.timeout(deadline):
            async with aclosing(follow(client, PODS, label_selector=names.selector(name))) as snapshots:
                async for snapshot in snapshots:
                    if not snapshot:
                        break
                    waiting = [f"{pod} on node {item['spec'].get('nodeName', '')}" for pod, item in sorted(snapshot.items())]
                    emit(Note(text=f"waiting for the pods of builder {name} to end: {', '.join(waiting)}", level="wait"))
    except TimeoutError:
        raise ClusterError(
            f'builder "{name}" is removed, but its pods are still there: {", ".join(waiting)}',
            hint=f"on a node that is lost they stay until: kubectl delete pod --force -n {client.namespace} -l {names.selector(name)}",
        ) from None
    finally:
        if waiting:
            emit(Note(text="", level="wait"))
