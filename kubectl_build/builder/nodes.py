"""Which architectures the cluster's nodes have, counting only nodes that a builder's pod can be scheduled on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from kubectl_build.builder.pod import tolerations
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import NODES
from kubectl_build.errors import Forbidden, NotFound
from kubectl_build.model.events import Note, Sink
from kubectl_build.model.json import JsonObject

_PAGE = 500
_NOT_CORDONED = "spec.unschedulable=false"
_LINUX = "kubernetes.io/os=linux"


async def count_nodes(client: KubeClient, emit: Sink) -> Mapping[str, int] | None:
    """How many usable nodes there are of each architecture, or None, with a note, when the user may not list nodes."""
    counts: Counter[str] = Counter()
    try:
        async for page in client.pages(NODES, label_selector=_LINUX, field_selector=_NOT_CORDONED, page_size=_PAGE):
            counts.update(filter(None, map(usable_architecture, page)))
    except Forbidden:
        emit(_forbidden())
        return None
    return dict(counts)


async def has_node(client: KubeClient, architecture: str, emit: Sink) -> bool | None:
    """Whether a usable node of `architecture` is there; pages are read until one is found. None, with a note, when that is forbidden."""
    selector = f"{_LINUX},kubernetes.io/arch={architecture}"
    try:
        async for page in client.pages(NODES, label_selector=selector, field_selector=_NOT_CORDONED, page_size=_PAGE):
            if any(usable_architecture(node) == architecture for node in page):
                return True
    except Forbidden:
        emit(_forbidden())
        return None
    return False


async def is_lost(client: KubeClient, name: str) -> bool:
    """Whether node `name` is gone or does not answer its cluster any more. False when that may not be asked."""
    try:
        node = await client.get(NODES, name)
    except NotFound:
        return True
    except Forbidden:
        return False
    return not _is_ready(node)


def usable_architecture(node: JsonObject) -> str:
    """The node's architecture, or "" when no builder pod can go there: it is not Ready, cordoned, or has a taint that is not tolerated."""
    architecture = str((node["metadata"].get("labels") or {}).get("kubernetes.io/arch", ""))
    spec = node.get("spec") or {}
    if not architecture or not _is_ready(node) or spec.get("unschedulable") or not _tolerated(spec.get("taints") or (), architecture):
        return ""
    return architecture


def _is_ready(node: JsonObject) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions)


def _tolerated(taints: Iterable[JsonObject], architecture: str) -> bool:
    accepted = {(item["key"], item.get("value"), item["effect"]) for item in tolerations(architecture) if item["operator"] == "Equal"}
    return all(
        taint.get("effect") == "PreferNoSchedule" or (taint.get("key"), taint.get("value", ""), taint.get("effect")) in accepted
        for taint in taints
    )


def _forbidden() -> Note:
    return Note(text="the architectures of the nodes are not known: you may not list nodes")
