"""The work behind `kubectl buildkit`: builders as tables, documents and changes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from kubectl_build import __version__
from kubectl_build.builder.amounts import format_seconds
from kubectl_build.builder.bootstrap import ensure_pools
from kubectl_build.builder.create import bootstrap_architectures
from kubectl_build.builder.defaults import load_defaults
from kubectl_build.builder.find import find_builder, list_builders, require_builder
from kubectl_build.builder.idle import stop_idle
from kubectl_build.builder.leases import Lease, living_leases
from kubectl_build.builder.spec import BuilderSpec
from kubectl_build.builder.spec_yaml import spec_document
from kubectl_build.builder.state import Builder, PodInfo
from kubectl_build.buildkit.client import DaemonInfo
from kubectl_build.cli.connect import connected
from kubectl_build.cli.main import run_async
from kubectl_build.cli.notes import note
from kubectl_build.cli.preference import current_builder
from kubectl_build.cli.printing import document_text
from kubectl_build.cli.tables import age, table
from kubectl_build.cluster.client import KubeClient
from kubectl_build.daemons import pod_use
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import KubectlBuildError
from kubectl_build.model.events import Note
from kubectl_build.model.json import JsonObject
from kubectl_build.model.kubeflags import KubeFlags
from kubectl_build.survey import DaemonInfos, daemon_infos


async def ensure_started(
    kube: KubeClient,
    name: str,
    architectures: tuple[str, ...],
    *,
    deadline: float | None = None,
    fresh: Mapping[str, str] | None = None,
) -> None:
    """Start the builder's pools and wait for them; `fresh` as for ensure_pools. Raises BuilderNotReady and what ensure_pools raises."""

    async def defaults() -> BuilderSpec:
        return await load_defaults(kube, note)

    await ensure_pools(kube, name, architectures, spec_source=defaults, emit=note, deadline=deadline or deadlines().ready, fresh=fresh)


def list_all(cluster: KubeFlags, *, all_namespaces: bool, output: str) -> int:
    """Print the builders of the namespace, or of all."""

    async def work() -> int:
        async with connected(cluster) as kube:
            builders = await list_builders(kube, all_namespaces=all_namespaces, emit=note)
            answers: DaemonInfos = {}
            if output != "name":
                answers = await daemon_infos(kube, [pod for builder in builders for pod in builder.pods if pod.usable])
            await _stop_idle(kube, builders)
        if output == "name":
            print("".join(f"{builder.name}\n" for builder in builders), end="")
        elif output in ("json", "yaml"):
            print(document_text({"builders": [_document(builder, answers) for builder in builders]}, output))
        elif builders:
            print(_table(builders, answers, namespaces=all_namespaces, wide=output == "wide"))
        else:
            print("no builders found" if all_namespaces else f'no builders found in namespace "{kube.namespace}"', file=sys.stderr)
        return 0

    return run_async(work)


def inspect(said: str | None, cluster: KubeFlags, *, bootstrap: bool, output: str) -> int:
    """Print one builder with its pods and what their daemons say."""

    async def work() -> int:
        async with connected(cluster) as kube:
            name = await current_builder(said, kube, emit=note, environ=os.environ)
            if bootstrap:
                present = await require_builder(kube, name, emit=note)
                await ensure_started(kube, name, present.architectures or await bootstrap_architectures(kube, present.known_spec(), note))
            builder = await require_builder(kube, name, emit=note)
            answers = await daemon_infos(kube, [pod for pod in builder.pods if pod.usable])
            leases = await living_leases(kube, name)
            if not bootstrap:
                await _stop_idle(kube, (builder,))
        if output:
            print(document_text(_document(builder, answers, leases), output))
        else:
            print(_description(builder, answers, leases))
        return 0

    return run_async(work)


def version(said: str | None, cluster: KubeFlags) -> int:
    """Print the client's version and each daemon's; a builder that is not there is said, and is no error."""

    async def work() -> int:
        print(f"Client: kubectl-build v{__version__}")
        async with connected(cluster) as kube:
            name = await current_builder(said, kube, emit=note, environ=os.environ)
            builder = await find_builder(kube, name, emit=note)
            pods = [pod for pod in builder.pods if pod.usable] if builder else []
            answers = await daemon_infos(kube, pods)
        if not pods:
            print(f'Builder: "{name}" has no running pod' if builder else f'Builder: there is no "{name}" in namespace "{kube.namespace}"')
        for (_, pod), answer in answers.items():
            print(f"Builder: {pod}: {_version(answer)}")
        return 0

    return run_async(work)


async def _stop_idle(kube: KubeClient, builders: Sequence[Builder]) -> None:
    """Carry out the idle timeouts of builders that were read anyway, where that is allowed."""
    with suppress(KubectlBuildError):
        for stopped in await stop_idle(kube, builders, ask=lambda pod: pod_use(kube, pod)):
            note(Note(text=str(stopped)))


def _version(answer: DaemonInfo | KubectlBuildError | None) -> str:
    match answer:
        case DaemonInfo():
            return f"buildkitd {answer.version}"
        case KubectlBuildError():
            return f"does not answer: {answer.message}"
    return "not running"


def _platforms(pods: tuple[PodInfo, ...], answers: DaemonInfos) -> list[str]:
    found: dict[str, None] = {}
    for pod in pods:
        answer = answers.get((pod.namespace, pod.name))
        if isinstance(answer, DaemonInfo):
            found.update({str(platform): None for worker in answer.workers for platform in worker.platforms})
    return list(found)


def _table(builders: tuple[Builder, ...], answers: DaemonInfos, *, namespaces: bool, wide: bool) -> str:
    now = datetime.now(UTC)
    rows = []
    for builder in builders:
        pools = ",".join(f"{p.architecture}({len(p.usable_pods)}/{'?' if p.replicas is None else p.replicas})" for p in builder.pools)
        nodes = ",".join(sorted({pod.node for pod in builder.pods if pod.node}))
        platforms = _platforms(builder.pods, answers)
        shown = platforms if wide or len(platforms) <= 4 else [*platforms[:4], f"+{len(platforms) - 4}"]
        versions = sorted({a.version for pod in builder.pods if isinstance(a := answers.get((pod.namespace, pod.name)), DaemonInfo)})
        row = [builder.name, pools, nodes, builder.status, ",".join(shown), ",".join(versions), age(builder.created_at, now)]
        images = ",".join(sorted({pool.image for pool in builder.pools if pool.image}))
        rows.append([*([builder.namespace] if namespaces else []), *row, *([builder.security, images] if wide else [])])
    header = ["NAME", "POOLS", "NODES", "STATUS", "PLATFORMS", "VERSION", "AGE"]
    return table([*(["NAMESPACE"] if namespaces else []), *header, *(["SECURITY", "IMAGE"] if wide else [])], rows)


def _description(builder: Builder, answers: DaemonInfos, leases: Sequence[Lease]) -> str:
    facts = [
        ("Name:", builder.name),
        ("Namespace:", builder.namespace),
        ("Status:", builder.status),
        ("Security:", builder.security),
        ("Platforms:", ", ".join(str(p) for p in builder.platforms) + " (fixed)" if builder.fixed else "as builds need them"),
        ("Created:", builder.created_at.isoformat() if builder.created_at else ""),
        *(_shape(builder.spec) if builder.spec else ()),
    ]
    lines = [f"{key:<12}{value or '-'}" for key, value in facts]
    if builder.problem:
        lines.append(f"{'Problem:':<12}{builder.problem}")
    for pool in builder.pools:
        wanted = "?" if pool.replicas is None else pool.replicas
        lines += ["", f"Pool {pool.architecture}: {len(pool.usable_pods)} of {wanted} ready, image {pool.image}"]
        for pod in pool.pods:
            state = "terminating" if pod.terminating else "ready" if pod.ready else pod.phase.lower() or "pending"
            words = [
                pod.name,
                f"node {pod.node or '-'}",
                state,
                *(["outdated"] if pod.outdated else []),
                _version(answers.get((pod.namespace, pod.name))),
            ]
            lines.append("  " + "  ".join(words))
            platforms = _platforms((pod,), answers)
            if platforms:
                lines.append(f"    platforms: {', '.join(platforms)}")
            lines += [f"    builds for {lease}" for lease in leases if lease.pod == pod.name]
    return "\n".join(lines)


def _shape(spec: BuilderSpec) -> list[tuple[str, str]]:
    """What people ask about first; the rest is in `-o yaml`."""
    amounts = [f"{kind} {name}={amount}" for kind, given in spec.resources.items() for name, amount in given.items()]
    facts = [("Resources:", ", ".join(amounts)), ("Cache:", str(spec.cache))]
    facts += [("Allows:", ", ".join(spec.allow))] if spec.allow else []
    return facts + ([("Idle stop:", f"after {format_seconds(spec.idle_seconds)}")] if spec.idle_seconds else [])


def _document(builder: Builder, answers: DaemonInfos, leases: Sequence[Lease] | None = None) -> JsonObject:
    """`leases` None: who builds was not asked."""

    def pod_document(pod: PodInfo) -> JsonObject:
        answer = answers.get((pod.namespace, pod.name))
        return {
            "name": pod.name,
            "node": pod.node,
            "phase": pod.phase,
            "ready": pod.ready,
            "terminating": pod.terminating,
            "outdated": pod.outdated,
            "image": pod.image,
            "restarts": pod.restarts,
            "version": answer.version if isinstance(answer, DaemonInfo) else "",
            "platforms": _platforms((pod,), answers),
            **({"builds": [_build_document(lease) for lease in leases if lease.pod == pod.name]} if leases is not None else {}),
            **({"error": answer.message} if isinstance(answer, KubectlBuildError) else {}),
        }

    return {
        "name": builder.name,
        "namespace": builder.namespace,
        "status": builder.status,
        "security": builder.security,
        "fixedPlatforms": [str(platform) for platform in builder.platforms],
        "createdAt": builder.created_at.isoformat() if builder.created_at else None,
        "pools": [
            {"architecture": p.architecture, "replicas": p.replicas, "image": p.image, "pods": [pod_document(pod) for pod in p.pods]}
            for p in builder.pools
        ],
        "spec": spec_document(builder.spec) if builder.spec else None,
    }


def _build_document(lease: Lease) -> JsonObject:
    since = lease.since.isoformat() if lease.since else None
    return {"holder": lease.holder, "platforms": lease.platforms, "context": lease.context, "since": since}
