"""Checks of the nodes: their architectures, what keeps builders from them, what their runtimes can do."""

from __future__ import annotations

from collections import Counter

from kubectl_build.builder.ladder import has_user_namespaces
from kubectl_build.builder.nodes import blocking_taints, usable_architecture
from kubectl_build.builder.state import Builder
from kubectl_build.doctor.finding import Finding, note, ok, problem
from kubectl_build.doctor.patient import Patient
from kubectl_build.errors import Forbidden
from kubectl_build.model.json import JsonObject

_SHOWN = 5
_PRESSURES = ("DiskPressure", "MemoryPressure", "PIDPressure")


async def check_nodes(patient: Patient) -> list[Finding]:
    """Which nodes can take builders, and why others cannot."""
    try:
        nodes = [node for node in await patient.nodes() if _label(node, "os") in ("", "linux")]
    except Forbidden:
        words = "the nodes are not known: you may not list nodes"
        return [note(words, "a build cannot tell which platforms are native", "kubectl auth can-i list nodes")]
    builder = await patient.builder_if_known()
    shape = builder.spec.pod if builder is not None and builder.spec is not None else None
    architectures = {_name(node): usable_architecture(node, shape) for node in nodes}
    usable = [node for node in nodes if architectures[_name(node)]]
    counts = Counter(filter(None, architectures.values()))
    words = ", ".join(f"{count} of {architecture}" for architecture, count in sorted(counts.items()))
    found = [ok(f"nodes that take builders: {words}")] if counts else [_none(nodes)]
    found += [_unusable(node) for node in nodes if node not in usable][:_SHOWN]
    found += [_pressed(node, kind) for node in usable for kind in _PRESSURES if _condition(node, kind) == "True"][:_SHOWN]
    return [*found, *_runtime_findings(usable), *_pools_without_nodes(builder, counts)]


def _none(nodes: list[JsonObject]) -> Finding:
    words = "no node can take a builder" if nodes else "the cluster has no node with Linux"
    return problem(words, "a builder that is started waits until a node is added", "kubectl get nodes -L kubernetes.io/arch")


def _unusable(node: JsonObject) -> Finding:
    name, spec = _name(node), node.get("spec") or {}
    if _condition(node, "Ready") != "True":
        return note(f"node {name} is not Ready", "no builder is started there", f"kubectl describe node {name}")
    if spec.get("unschedulable"):
        return note(f"node {name} is cordoned", "no builder is started there", f"kubectl uncordon {name}")
    taints = blocking_taints(node)
    shown = ", ".join(_taint(taint) for taint in taints)
    if not shown:
        return note(f"node {name} does not say its architecture", "no builder is started there", f"kubectl describe node {name}")
    words = f"node {name} has taints that a builder does not tolerate: {shown}"
    return note(words, "no builder is started there", "".join(f"kubectl taint node {name} {_taint(taint)}-" for taint in taints[:1]))


def _pressed(node: JsonObject, kind: str) -> Finding:
    name = _name(node)
    command = "kubectl buildkit prune" if kind == "DiskPressure" else f"kubectl describe node {name}"
    return note(f"node {name} has {kind}", "pods there may be evicted, with what they build", command)


def _runtime_findings(nodes: list[JsonObject]) -> list[Finding]:
    """Which nodes have a runtime with user namespaces; what a node does not say (Kubernetes before v1.33) is not known."""
    able = [_name(node) for node in nodes if has_user_namespaces(node)]
    if not nodes:
        return []
    if len(able) == len(nodes):
        return [ok("every node's container runtime knows user namespaces")]
    names = ", ".join(sorted(_name(node) for node in nodes if _name(node) not in able)[:_SHOWN])
    words = f"container runtimes without user namespaces, as far as the nodes say: {names}"
    return [note(words, "builders there are rootless or privileged", "kubectl get nodes -o wide")]


def _pools_without_nodes(builder: Builder | None, counts: Counter[str]) -> list[Finding]:
    pools = [pool for pool in builder.pools if not counts[pool.architecture] and not pool.usable_pods] if builder else []
    return [
        note(
            f"pool {pool.architecture} of the builder has no node that takes it",
            f"what needs {pool.architecture} waits for such a node",
            f"kubectl get nodes -l kubernetes.io/arch={pool.architecture}",
        )
        for pool in pools
    ]


def _condition(node: JsonObject, kind: str) -> str:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return next((str(item.get("status")) for item in conditions if item.get("type") == kind), "")


def _taint(taint: JsonObject) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint.get('key')}{value}:{taint.get('effect')}"


def _name(node: JsonObject) -> str:
    return str(node["metadata"]["name"])


def _label(node: JsonObject, part: str) -> str:
    return str((node["metadata"].get("labels") or {}).get(f"kubernetes.io/{part}", ""))
