"""`create`: making a builder, and bringing an existing one to what is asked for now."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import field, replace

from kubectl_build.builder import names
from kubectl_build.builder.apply import apply_object, conflict, take_over
from kubectl_build.builder.bootstrap import QEMU_NOTE
from kubectl_build.builder.busy import ActiveBuilds, building
from kubectl_build.builder.explain import explain_exposed
from kubectl_build.builder.ladder import settle_levels
from kubectl_build.builder.manifests import Manifests, render
from kubectl_build.builder.nodes import count_nodes, has_node
from kubectl_build.builder.objects import delete_same
from kubectl_build.builder.protect import apply_policy
from kubectl_build.builder.recorded import Recorded
from kubectl_build.builder.security import AUTO, PRIVILEGED, keeps_host_users
from kubectl_build.builder.spec import BuilderSpec
from kubectl_build.builder.state import Builder, PodInfo, assemble, pod_info
from kubectl_build.builder.together import together
from kubectl_build.builder.volume import claims_of
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import CONFIGMAPS, NETWORKPOLICIES, PODS, SECRETS, STATEFULSETS, Resource
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import ApiError, BuilderNotReady, ClusterError, ConfigError, Invalid, KubectlBuildError, NotFound, UsageError
from kubectl_build.model.events import Note, Sink
from kubectl_build.model.json import JsonObject
from kubectl_build.values import dataclass

_ANY_ARCHITECTURE = "amd64"
"""Of a pool that is only rehearsed; the API server looks at no node for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateResult:
    """What `create` did. `replaced` are outdated pods that were deleted, `busy` those that still build and stay as they are.

    `fresh` has the uids of the StatefulSets made now, by architecture.
    """

    created: bool
    changed: bool
    pools: tuple[str, ...]
    replaced: tuple[str, ...] = ()
    busy: tuple[str, ...] = ()
    fresh: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Present:
    """The builder's objects as they were read, and those that this call made since."""

    config_map: JsonObject | None
    secret: JsonObject | None
    stateful_sets: dict[str, JsonObject]
    pods: list[PodInfo]
    builder: Builder | None
    made: list[tuple[Resource, JsonObject]] = field(default_factory=list)


async def bootstrap_architectures(client: KubeClient, spec: BuilderSpec, emit: Sink) -> tuple[str, ...]:
    """The pools that `create --bootstrap` starts: the fixed ones, else one for each architecture of the usable nodes, most common first.

    Raises ClusterError when nodes may not be listed or none is usable.
    """
    if spec.platforms:
        return spec.fixed_architectures
    counts = await count_nodes(client, emit, spec.pod)
    if not counts:
        raise ClusterError("the architectures of the nodes are not known", hint="name what the builder is for with --platform")
    return tuple(sorted(counts, key=lambda arch: (-counts[arch], arch)))


async def create_builder(
    client: KubeClient,
    name: str,
    spec: BuilderSpec,
    *,
    architectures: Sequence[str] = (),
    active_builds: ActiveBuilds,
    emit: Sink,
    over: Recorded | None = None,
) -> CreateResult:
    """Make builder `name` what `spec` says, whatever it was. Idempotent. Pods are not waited for: that is ensure_pools.

    `over` is what the builder had recorded when `spec` was made from that: when it says something else by now, that is a Conflict.

    Pools: the fixed ones of the spec, else those there are and `architectures`. Pools that the fixed platforms no longer have are removed,
    and outdated pods are replaced, when idle. `spec.replicas` None leaves the pools' size alone.
    Raises UsageError for a fixed platform without a node, ConfigError for client files without contents, ClusterError for a change that
    would end builds, Conflict when somebody else changes the builder at the same time, ApiError. A builder that was not there before is
    removed again when making it fails.
    """
    names.check_builder_name(name)
    present = await _read(client, name)
    known = present.builder.spec if present.builder else None
    if over is not None and known not in (over.spec, spec):
        raise conflict(client, CONFIGMAPS, name, "it says something else than when it was read")
    _require_contents(name, spec)
    wanted = tuple(dict.fromkeys(spec.fixed_architectures or (*present.stateful_sets, *architectures)))
    surplus = [arch for arch in present.stateful_sets if arch not in wanted]
    await _require_nodes(client, spec, [arch for arch in wanted if arch not in present.stateful_sets], emit)
    await _require_idle(client, name, [pod for pod in present.pods if pod.architecture in surplus], active_builds)
    if spec.qemu_install:
        emit(Note(text=QEMU_NOTE, level="warning"))
    recorded = replace(spec, replicas=known.replicas) if spec.replicas is None and known else spec
    levels = await settle_levels(client, name, spec, wanted, present.stateful_sets, emit)
    manifests = render(name, client.namespace, recorded, wanted, levels=levels)
    if spec.replicas is None:
        _leave_replicas(manifests, present)
    _require_same_claims(name, spec, manifests, present)
    if not wanted:
        await _rehearse_pool(client, name, recorded)
    try:
        changed = await _apply_all(client, name, manifests, present, emit)
    except BaseException:
        await _undo(client, present, emit)
        raise
    for architecture in surplus:
        await delete_same(client, STATEFULSETS, present.stateful_sets[architecture])
    if present.secret is not None and manifests.secret is None:
        await delete_same(client, SECRETS, present.secret)
    replaced, busy = await _replace_outdated(client, name, manifests, active_builds, emit)
    return CreateResult(
        created=present.config_map is None,
        changed=changed or bool(surplus),
        pools=wanted,
        replaced=replaced,
        busy=busy,
        fresh={arch: item["metadata"]["uid"] for arch, item in _made_pools(present)},
    )


def _made_pools(present: _Present) -> list[tuple[str, JsonObject]]:
    return [(item["metadata"]["labels"][names.LABEL_ARCHITECTURE], item) for resource, item in present.made if resource is STATEFULSETS]


async def _read(client: KubeClient, name: str) -> _Present:
    async def one(resource: Resource, object_name: str) -> list[JsonObject]:
        try:
            return [await client.get(resource, object_name)]
        except NotFound:
            return []

    async def own(resource: Resource) -> list[JsonObject]:
        return list((await client.list(resource, label_selector=names.selector(name))).items)

    config_maps, secrets, sets, pods = await together(
        one(CONFIGMAPS, name), one(SECRETS, names.certificates_name(name)), own(STATEFULSETS), own(PODS)
    )
    builder = assemble(name, client.namespace, config_maps=config_maps, stateful_sets=sets, pods=pods)
    return _Present(
        config_map=config_maps[0] if config_maps else None,
        secret=secrets[0] if secrets else None,
        stateful_sets={item["metadata"]["labels"].get(names.LABEL_ARCHITECTURE, ""): item for item in sets},
        pods=list(builder.pods) if builder else [],
        builder=builder,
    )


async def _require_nodes(client: KubeClient, spec: BuilderSpec, architectures: Sequence[str], emit: Sink) -> None:
    if not spec.platforms:
        return
    for architecture in architectures:
        if await has_node(client, architecture, emit, spec.pod) is False:
            hint = "kubectl get nodes -L kubernetes.io/arch"
            if architecture == "arm":
                hint = "with linux/arm64 in the list too, pods on arm64 nodes build 32-bit arm; else leave it to emulation"
            labels = ",".join(f"{key}={value}" for key, value in spec.pod.node_selector.items())
            nodes = f"node of architecture {architecture}" + (f" with {labels}" if labels else "")
            raise UsageError(f"no {nodes} can run a builder now, which --platform asks for", hint=hint)


async def _rehearse_pool(client: KubeClient, name: str, spec: BuilderSpec) -> None:
    """Let the API server look at a pool of a builder that has none yet: else the first build is told what is wrong with it.

    Raises ClusterError. A server that cannot rehearse (a webhook that writes, a missing right) proves nothing.
    """
    level = PRIVILEGED if spec.security == AUTO else spec.security
    manifests = render(name, client.namespace, spec, [_ANY_ARCHITECTURE], levels={_ANY_ARCHITECTURE: level})
    with suppress(ApiError):
        try:
            await client.create(STATEFULSETS, manifests.stateful_sets[_ANY_ARCHITECTURE], dry_run=True)
        except Invalid as error:
            if error.status == 422:
                raise ClusterError(f'the API server does not accept builder "{name}" as it is asked for: {error.message}') from error


async def _require_idle(client: KubeClient, name: str, pods: Sequence[PodInfo], active_builds: ActiveBuilds) -> None:
    for pod in pods:
        if pod.usable and (busy := await building(client, name, pod, active_builds)):
            raise ClusterError(
                f'builder "{name}" was not changed: the pool {pod.architecture} would go, but {busy}',
                hint="run the command again when it is idle",
            )


def _require_same_claims(name: str, spec: BuilderSpec, manifests: Manifests, present: _Present) -> None:
    """A StatefulSet's claim templates are fixed: a pool with other claims would have to be removed, with the cache in its volumes."""
    for architecture, wanted in manifests.stateful_sets.items():
        existing = present.stateful_sets.get(architecture)
        if existing is not None and claims_of(existing) != claims_of(wanted):
            known = present.builder.spec if present.builder else None
            now = f'"{known.cache}"' if known else "another one"
            namespace = existing["metadata"]["namespace"]
            raise ClusterError(
                f'builder "{name}" was not changed: its cache is {now} and cannot become "{spec.cache}", '
                "since Kubernetes does not change the claims of a StatefulSet",
                hint=f"give up the cache there is: kubectl buildkit rm {name} -n {namespace}, then create it again",
            )


def _require_contents(name: str, spec: BuilderSpec) -> None:
    """What the Secret no longer has would be lost to the daemons without a word."""
    lacking = [file for file, value in spec.client_files.items() if value.content is None]
    if lacking:
        raise ConfigError(
            f'"{lacking[0]}" of builder "{name}" is not in its Secret "{names.certificates_name(name)}" as it was recorded',
            hint="give it again with --buildkitd-config, or do without: --reset buildkitdConfig",
        )


def _leave_replicas(manifests: Manifests, present: _Present) -> None:
    for architecture in present.stateful_sets.keys() & manifests.stateful_sets.keys():
        manifests.stateful_sets[architecture]["spec"].pop("replicas", None)


async def _apply_all(client: KubeClient, name: str, manifests: Manifests, present: _Present, emit: Sink) -> bool:
    """Apply what all pods read first, then the pools, once the server agrees to all of it. Returns whether anything changed."""

    async def prepare(resource: Resource, wanted: JsonObject, existing: JsonObject | None) -> JsonObject | None:
        if existing is not None:
            existing = await take_over(client, resource, wanted, existing, builder=name)
            _require_host_users(name, resource, await apply_object(client, resource, wanted, existing, builder=name, dry_run=True))
        return existing

    async def bring(resource: Resource, wanted: JsonObject, existing: JsonObject | None) -> bool:
        result = await apply_object(client, resource, wanted, existing, builder=name)
        if existing is None:
            present.made.append((resource, result))
        try:
            _require_host_users(name, resource, result)
        except BuilderNotReady:
            await delete_same(client, resource, result)
            raise
        return existing is None or _version(result) != _version(existing)

    shared = [(CONFIGMAPS, manifests.config_map, present.config_map)]
    if manifests.secret is not None:
        shared.append((SECRETS, manifests.secret, present.secret))
    pools = [(STATEFULSETS, wanted, present.stateful_sets.get(arch)) for arch, wanted in manifests.stateful_sets.items()]
    prepared = await together(*(prepare(*item) for item in (*shared, *pools)))
    ready = [(resource, wanted, existing) for (resource, wanted, _), existing in zip((*shared, *pools), prepared, strict=True)]
    changed = [await bring(*item) for item in ready[: len(shared)]]
    policy, is_other = await apply_policy(client, manifests.network_policy, emit, builder=name)
    if policy is not None:
        present.made.append((NETWORKPOLICIES, policy))
    changed.append(is_other)
    return any([*changed, *await together(*(bring(*item) for item in ready[len(shared) :]))])


def _require_host_users(name: str, resource: Resource, item: JsonObject) -> None:
    """Raise BuilderNotReady when the API server left out what keeps the pods from being privileged on their node."""
    if resource is STATEFULSETS and not keeps_host_users(item["spec"]["template"]):
        found = explain_exposed(f"StatefulSet {item['metadata']['name']}")
        raise BuilderNotReady(f'builder "{name}" cannot be started: {found.text}', reason=found.reason, hint=found.hint)


def _version(item: JsonObject) -> object:
    """What changes with what people ask for: the generation, or the data of a kind without one. A status or a manager moves neither."""
    return item["metadata"].get("generation") or (item.get("data"), item["metadata"].get("labels"))


async def _undo(client: KubeClient, present: _Present, emit: Sink) -> None:
    """Take back what was made, when there was no builder before."""
    if present.config_map is not None:
        return
    try:
        async with asyncio.timeout(deadlines().cleanup):
            await together(*(delete_same(client, resource, item) for resource, item in present.made))
    except (KubectlBuildError, TimeoutError) as exc:
        emit(Note(text=f"what was made could not be removed: {exc}", level="warning"))


async def _replace_outdated(
    client: KubeClient, name: str, manifests: Manifests, active_builds: ActiveBuilds, emit: Sink
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Delete the pods of an earlier configuration that build nothing; their StatefulSet makes new ones."""
    present = {
        arch: item["spec"]["template"]["metadata"]["annotations"][names.ANNOTATION_CONFIG_HASH]
        for arch, item in manifests.stateful_sets.items()
    }
    listed = await client.list(PODS, label_selector=names.selector(name))
    replaced, busy = [], []
    for item in listed.items:
        architecture = item["metadata"]["labels"].get(names.LABEL_ARCHITECTURE, "")
        pod = pod_info(item, template_hash=present.get(architecture, ""))
        if not pod.outdated or pod.terminating:
            continue
        if pod.usable and (builds := await building(client, name, pod, active_builds)):
            busy.append(pod.name)
            emit(Note(text=f"{builds}; it keeps its earlier configuration: run create again when it is idle"))
            continue
        await delete_same(client, PODS, item)
        replaced.append(pod.name)
    return tuple(replaced), tuple(busy)
