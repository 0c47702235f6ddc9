"""The work behind `kubectl buildkit`: builders as tables, documents and changes."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from kubectl_build import __version__
from kubectl_build.builder.bootstrap import READY_SECONDS, ensure_pools
from kubectl_build.builder.buildkitd_config import load_buildkitd_config
from kubectl_build.builder.create import CreateResult, bootstrap_architectures, create_builder
from kubectl_build.builder.defaults import load_defaults
from kubectl_build.builder.find import find_builder, list_builders
from kubectl_build.builder.manifests import render, to_yaml
from kubectl_build.builder.names import check_builder_name
from kubectl_build.builder.remove import remove_builders
from kubectl_build.builder.spec import SpecChange, merge
from kubectl_build.builder.state import Builder, PodInfo
from kubectl_build.buildkit.client import DaemonInfo
from kubectl_build.cli.connect import connected
from kubectl_build.cli.main import run_async
from kubectl_build.cli.tables import age, table
from kubectl_build.cluster.client import KubeClient
from kubectl_build.daemons import active_builds, ask_all
from kubectl_build.errors import ClusterError, KubectlBuildError
from kubectl_build.model.events import BuildEvent, Note
from kubectl_build.model.json import JsonObject
from kubectl_build.model.kubeflags import KubeFlags
from kubectl_build.model.platform import parse_platforms


def spec_change(
    *,
    platforms: tuple[str, ...],
    image: str | None,
    replicas: int | None,
    buildkitd_config: Path | None,
    qemu_install: bool | None,
) -> SpecChange:
    """What the flags of `create` ask for. Raises UsageError, ConfigError for a buildkitd.toml that cannot be used."""
    loaded = load_buildkitd_config(buildkitd_config) if buildkitd_config is not None else None
    return SpecChange(
        platforms=parse_platforms(platforms) if platforms else None,
        image=image,
        replicas=replicas,
        qemu_install=qemu_install,
        buildkitd_config=loaded.text if loaded else None,
        registries=loaded.registries if loaded else None,
        client_files=loaded.client_files if loaded else None,
    )


def create(name: str, change: SpecChange, cluster: KubeFlags, *, bootstrap: bool, dry_run: bool) -> int:
    """Create or change a builder and say what was done; with `dry_run` print the objects instead."""

    async def work() -> int:
        async with connected(cluster) as kube:
            spec = merge(await load_defaults(kube, _note), change)
            started = await bootstrap_architectures(kube, spec, _note) if bootstrap else ()
            if dry_run:
                print(to_yaml(render(check_builder_name(name), kube.namespace, spec, spec.fixed_architectures or started).objects), end="")
                return 0
            result = await create_builder(
                kube, name, spec, architectures=started, active_builds=lambda pod: active_builds(kube, pod), emit=_note
            )
            print(_created(name, result))
            if bootstrap:
                await _ensure(kube, name, result.pools)
        return 0

    return run_async(work)


def _created(name: str, result: CreateResult) -> str:
    words = "created" if result.created else "changed" if result.changed or result.replaced else "unchanged"
    if result.busy:
        words += f"; still building with the earlier configuration: {', '.join(result.busy)}"
    return f'builder "{name}" {words}'


async def _ensure(kube: KubeClient, name: str, architectures: tuple[str, ...]) -> None:
    await ensure_pools(kube, name, architectures, spec_source=lambda: load_defaults(kube, _note), emit=_note, deadline=READY_SECONDS)


def list_all(cluster: KubeFlags, *, all_namespaces: bool, output: str) -> int:
    """Print the builders of the namespace, or of all."""

    async def work() -> int:
        async with connected(cluster) as kube:
            builders = await list_builders(kube, all_namespaces=all_namespaces, emit=_note)
            answers: dict[str, DaemonInfo | KubectlBuildError] = {}
            if output != "name":
                answers = await ask_all(kube, [pod for builder in builders for pod in builder.pods if pod.usable])
        if output == "name":
            print("".join(f"{builder.name}\n" for builder in builders), end="")
        elif output in ("json", "yaml"):
            _print_document({"builders": [_document(builder, answers) for builder in builders]}, output)
        elif builders:
            print(_table(builders, answers, namespaces=all_namespaces, wide=output == "wide"))
        else:
            print("no builders found" if all_namespaces else f'no builders found in namespace "{kube.namespace}"', file=sys.stderr)
        return 0

    return run_async(work)


def inspect(name: str, cluster: KubeFlags, *, bootstrap: bool, output: str) -> int:
    """Print one builder with its pods and what their daemons say."""

    async def work() -> int:
        async with connected(cluster) as kube:
            if bootstrap:
                present = await find_builder(kube, name, emit=_note)
                if present is None:
                    raise unknown_builder(name, kube)
                await _ensure(kube, name, present.architectures or await bootstrap_architectures(kube, present.known_spec(), _note))
            builder = await find_builder(kube, name, emit=_note)
            if builder is None:
                raise unknown_builder(name, kube)
            answers = await ask_all(kube, [pod for pod in builder.pods if pod.usable])
        if output:
            _print_document(_document(builder, answers), output)
        else:
            print(_description(builder, answers))
        return 0

    return run_async(work)


def remove(names: tuple[str, ...], cluster: KubeFlags, *, ignore_not_found: bool) -> int:
    """Remove builders and say which."""

    async def work() -> int:
        async with connected(cluster) as kube:
            for name in await remove_builders(kube, names, ignore_not_found=ignore_not_found, emit=_note, deadline=READY_SECONDS):
                print(f'builder "{name}" removed')
        return 0

    return run_async(work)


def version(name: str, cluster: KubeFlags) -> int:
    """Print the client's version and each daemon's; a builder that is not there is said, and is no error."""

    async def work() -> int:
        print(f"Client: kubectl-build v{__version__}")
        async with connected(cluster) as kube:
            builder = await find_builder(kube, name, emit=_note)
            pods = [pod for pod in builder.pods if pod.usable] if builder else []
            answers = await ask_all(kube, pods)
        if not pods:
            print(f'Builder: "{name}" has no running pod' if builder else f'Builder: there is no "{name}" in namespace "{kube.namespace}"')
        for pod, answer in answers.items():
            print(f"Builder: {pod}: {_version(answer)}")
        return 0

    return run_async(work)


def unknown_builder(name: str, kube: KubeClient) -> ClusterError:
    """The error for a builder that is not in the namespace."""
    return ClusterError(f'there is no builder "{name}" in namespace "{kube.namespace}"', hint="see: kubectl buildkit ls --all-namespaces")


class _Notes:
    """Notes as lines on stderr; what is waited for is said once, however often it is seen."""

    def __init__(self) -> None:
        self._waiting = ""

    def __call__(self, event: BuildEvent) -> None:
        if not isinstance(event, Note) or not event.text:
            return
        if event.level == "wait":
            if event.text == self._waiting:
                return
            self._waiting = event.text
        print(event.text, file=sys.stderr)


_note = _Notes()


def _version(answer: DaemonInfo | KubectlBuildError | None) -> str:
    match answer:
        case DaemonInfo():
            return f"buildkitd {answer.version}"
        case KubectlBuildError():
            return f"does not answer: {answer.message}"
    return "not running"


def _platforms(pods: tuple[PodInfo, ...], answers: dict[str, DaemonInfo | KubectlBuildError]) -> list[str]:
    found: dict[str, None] = {}
    for pod in pods:
        answer = answers.get(pod.name)
        if isinstance(answer, DaemonInfo):
            found.update({str(platform): None for worker in answer.workers for platform in worker.platforms})
    return list(found)


def _table(builders: tuple[Builder, ...], answers: dict[str, DaemonInfo | KubectlBuildError], *, namespaces: bool, wide: bool) -> str:
    now = datetime.now(UTC)
    rows = []
    for builder in builders:
        pools = ",".join(f"{p.architecture}({len(p.usable_pods)}/{'?' if p.replicas is None else p.replicas})" for p in builder.pools)
        nodes = ",".join(sorted({pod.node for pod in builder.pods if pod.node}))
        platforms = _platforms(builder.pods, answers)
        shown = platforms if wide or len(platforms) <= 4 else [*platforms[:4], f"+{len(platforms) - 4}"]
        versions = sorted({a.version for pod in builder.pods if isinstance(a := answers.get(pod.name), DaemonInfo)})
        row = [builder.name, pools, nodes, builder.status, ",".join(shown), ",".join(versions), age(builder.created_at, now)]
        images = ",".join(sorted({pool.image for pool in builder.pools if pool.image}))
        rows.append([*([builder.namespace] if namespaces else []), *row, *([builder.security, images] if wide else [])])
    header = ["NAME", "POOLS", "NODES", "STATUS", "PLATFORMS", "VERSION", "AGE"]
    return table([*(["NAMESPACE"] if namespaces else []), *header, *(["SECURITY", "IMAGE"] if wide else [])], rows)


def _description(builder: Builder, answers: dict[str, DaemonInfo | KubectlBuildError]) -> str:
    facts = [
        ("Name:", builder.name),
        ("Namespace:", builder.namespace),
        ("Status:", builder.status),
        ("Security:", builder.security),
        ("Platforms:", ", ".join(str(p) for p in builder.platforms) + " (fixed)" if builder.fixed else "as builds need them"),
        ("Created:", builder.created_at.isoformat() if builder.created_at else ""),
    ]
    lines = [f"{key:<12}{value or '-'}" for key, value in facts]
    if builder.problem:
        lines.append(f"{'Problem:':<12}{builder.problem}")
    for pool in builder.pools:
        wanted = "?" if pool.replicas is None else pool.replicas
        lines += ["", f"Pool {pool.architecture}: {len(pool.usable_pods)} of {wanted} ready, {pool.image}"]
        for pod in pool.pods:
            state = "terminating" if pod.terminating else "ready" if pod.ready else pod.phase.lower() or "pending"
            words = [pod.name, f"node {pod.node or '-'}", state, *(["outdated"] if pod.outdated else []), _version(answers.get(pod.name))]
            lines.append("  " + "  ".join(words))
            platforms = _platforms((pod,), answers)
            if platforms:
                lines.append(f"    platforms: {', '.join(platforms)}")
    return "\n".join(lines)


def _document(builder: Builder, answers: dict[str, DaemonInfo | KubectlBuildError]) -> JsonObject:
    def pod_document(pod: PodInfo) -> JsonObject:
        answer = answers.get(pod.name)
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
    }


def _print_document(document: JsonObject, output: str) -> None:
    print(json.dumps(document, indent=2) if output == "json" else to_yaml([document]).rstrip("\n"))
