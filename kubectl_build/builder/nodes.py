"""Which architectures the cluster's nodes have, counting only nodes that a builder's pod can be scheduled on."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing

from kubectl_build.builder.pod import tolerations
from kubectl_build.builder.shape import PodShape
from kubectl_build.cluster.client import KubeClient, Objects
from kubectl_build.cluster.resources import NODES
from kubectl_build.errors import Forbidden, NotFound
from kubectl_build.model.events import Note, Sink
from kubectl_build.model.json import JsonObject

_PAGE = 500
_FEW = 10
"""Nodes of which one very likely can take a builder. Real ones are of 10 to 30 KB each: most of it lists images."""
_NOT_CORDONED = "spec.unschedulable=false"
_LINUX = "kubernetes.io/os=linux"
_ARCHITECTURE = "kubernetes.io/arch"


async def count_nodes(client: KubeClient, emit: Sink, shape: PodShape | None = None) -> Mapping[str, int] | None:
    """How many usable nodes there are of each architecture, or None, with a note, when the user may not list nodes.

    `shape` is that of the builder's pods: what it selects and tolerates counts.
    """
    counts: Counter[str] = Counter()
    selector = _selector(_LINUX, shape)
    try:
        async for page in _pages(client, selector, _PAGE):
            counts.update(filter(None, (usable_architecture(node, shape) for node in page)))
    except Forbidden:
        emit(_forbidden())
        return None
    return dict(counts)


async def find_architectures(client: KubeClient, emit: Sink, shape: PodShape | None = None) -> Mapping[str, int] | None:
    """As count_nodes, but in a large cluster a number says no more than that there are such nodes.

    Few nodes are read: some, then the labels of those of other architectures, then some of each of these.
    """
    try:
        async with aclosing(_pages(client, _selector(_LINUX, shape), _FEW)) as pages:
            some = await anext(pages)
        counts = Counter(filter(None, (usable_architecture(node, shape) for node in some)))
        if len(some) == _FEW:
            for architecture, count in (await _other_architectures(client, counts, shape)).items():
                if await _is_any_usable(client, architecture, shape, few=count <= _FEW):
                    counts[architecture] = count
    except Forbidden:
        emit(_forbidden())
        return None
    return dict(counts)


async def _other_architectures(client: KubeClient, seen: Iterable[str], shape: PodShape | None) -> Counter[str]:
    """How many nodes there are, usable or not, of each architecture that has not been `seen`.

    Where these are few or none the server would read every node from its store to tell so in pages: 0.3 s for 5,000.
    """
    selector = _selector(",".join([_LINUX, *(f"{_ARCHITECTURE}!={architecture}" for architecture in seen)]), shape)
    found = await client.metadata(NODES, label_selector=selector, field_selector=_NOT_CORDONED)
    return Counter(filter(None, map(_labelled_architecture, found)))


async def _is_any_usable(client: KubeClient, architecture: str, shape: PodShape | None, *, few: bool) -> bool:
    """`few` says that there are no more such nodes than can be asked for at once."""
    selector = _selector(f"{_LINUX},{_ARCHITECTURE}={architecture}", shape)
    if few:
        nodes = await client.list(NODES, label_selector=selector, field_selector=_NOT_CORDONED, cached=True)
        return any(usable_architecture(node, shape) for node in nodes.items)
    async with aclosing(_pages(client, selector, _PAGE)) as pages:
        async for page in pages:
            if any(usable_architecture(node, shape) for node in page):
                return True
    return False


async def has_node(client: KubeClient, architecture: str, emit: Sink, shape: PodShape | None = None) -> bool | None:
    """Whether a usable node of `architecture` is there; pages are read until one is found. None, with a note, when that is forbidden."""
    try:
        return await _is_any_usable(client, architecture, shape, few=False)
    except Forbidden:
        emit(_forbidden())
        return None


def _pages(client: KubeClient, selector: str, size: int) -> AsyncGenerator[Objects, None]:
    return client.pages(NODES, label_selector=selector, field_selector=_NOT_CORDONED, page_size=size)


def _selector(base: str, shape: PodShape | None) -> str:
    return ",".join([base, *(f"{key}={value}" for key, value in (shape.node_selector if shape else {}).items())])


async def is_lost(client: KubeClient, name: str) -> bool:
    """Whether node `name` is gone or does not answer its cluster any more. False when that may not be asked."""
    try:
        node = await client.get(NODES, name)
    except NotFound:
        return True
    except Forbidden:
        return False
    return not _is_ready(node)


def usable_architecture(node: JsonObject, shape: PodShape | None = None) -> str:
    """The node's architecture, or "" when no builder pod can go there: it is not Ready, cordoned, or has a taint that is not tolerated."""
    architecture = _labelled_architecture(node)
    spec = node.get("spec") or {}
    if not architecture or not _is_ready(node) or spec.get("unschedulable"):
        return ""
    accepted = [*tolerations(architecture), *(shape.tolerations if shape else ())]
    return architecture if all(any(_tolerates(item, taint) for item in accepted) for taint in blocking_taints(node)) else ""


def _labelled_architecture(node: JsonObject) -> str:
    return str((node["metadata"].get("labels") or {}).get(_ARCHITECTURE, ""))


def blocking_taints(node: JsonObject) -> list[JsonObject]:
    """The node's taints that keep away whoever does not tolerate them."""
    return [taint for taint in (node.get("spec") or {}).get("taints") or () if taint.get("effect") != "PreferNoSchedule"]


def _is_ready(node: JsonObject) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions)


def _tolerates(toleration: JsonObject, taint: JsonObject) -> bool:
    """Kubernetes' own rule, but that a taint which is borne for a time only does not let a pod in."""
    if toleration.get("tolerationSeconds") is not None or toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint.get("key"))
    return toleration.get("key") == taint.get("key") and (toleration.get("value") or "") == (taint.get("value") or "")


def _forbidden() -> Note:
    return Note(text="the architectures of the nodes are not known: you may not list nodes")
