"""Finding builders: everything is read from the cluster, and what the user may not read is left out with one note."""

from __future__ import annotations

from kubectl_build.builder import names
from kubectl_build.builder.state import Builder, assemble, by_builder
from kubectl_build.builder.together import together
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import CONFIGMAPS, PODS, STATEFULSETS, Resource
from kubectl_build.errors import ClusterError, Forbidden
from kubectl_build.model.events import Note, Sink
from kubectl_build.model.json import JsonObject


async def find_builder(client: KubeClient, name: str, *, emit: Sink) -> Builder | None:
    """The builder `name` of the client's namespace as it is now, or None. Three lists at once; only that of pods must be allowed.

    Raises UsageError for what cannot be a builder's name, ApiError, ApiUnreachable.
    """
    names.check_builder_name(name)
    found = await _read(client, names.selector(name), all_namespaces=False, emit=emit)
    config_maps, stateful_sets, pods = found
    return assemble(name, client.namespace, config_maps=config_maps, stateful_sets=stateful_sets, pods=pods or [])


async def require_builder(client: KubeClient, name: str, *, emit: Sink) -> Builder:
    """As find_builder. Raises ClusterError where there is none."""
    builder = await find_builder(client, name, emit=emit)
    if builder is None:
        what = f'there is no builder "{name}" in namespace "{client.namespace}"'
        raise ClusterError(what, hint="see: kubectl buildkit ls --all-namespaces")
    return builder


async def list_builders(client: KubeClient, *, all_namespaces: bool = False, emit: Sink) -> tuple[Builder, ...]:
    """Every builder of the client's namespace, or of all, by namespace and name. Raises as find_builder does."""
    config_maps, stateful_sets, pods = await _read(client, names.selector(), all_namespaces=all_namespaces, emit=emit)
    grouped = [by_builder(items) if items is not None else None for items in (config_maps, stateful_sets, pods)]
    keys = sorted({key for group in grouped if group is not None for key in group})
    result = []
    for key in keys:
        maps, sets, own_pods = (None if group is None else group.get(key, []) for group in grouped)
        builder = assemble(key[1], key[0], config_maps=maps, stateful_sets=sets, pods=own_pods or [])
        if builder is not None:
            result.append(builder)
    return tuple(result)


async def _read(client: KubeClient, selector: str, *, all_namespaces: bool, emit: Sink) -> list[list[JsonObject] | None]:
    async def items(resource: Resource, needed: bool) -> list[JsonObject] | None:
        try:
            found = await client.list(resource, label_selector=selector, all_namespaces=all_namespaces)
        except Forbidden:
            if needed:
                raise
            emit(Note(text=f"what {resource.plural} say about the builder is not known: you may not list {resource.plural}"))
            return None
        return list(found.items)

    return await together(items(CONFIGMAPS, False), items(STATEFULSETS, False), items(PODS, True))
