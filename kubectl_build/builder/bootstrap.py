"""Making a builder that is missing, and waiting for its pods.

Nothing that exists is changed here: create, and an answer of 409 means that somebody else did. What this call made and what never became
ready is removed again when it fails or is cancelled. That may take a StatefulSet from under another client that waits for the same
one; it then makes it anew, since each wait goes by what is there, so only time is lost. A pool that became ready is kept, with its
ConfigMap: it is what the next build needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from kubectl_build.builder import names
from kubectl_build.builder.find import find_builder
from kubectl_build.builder.manifests import Manifests, render
from kubectl_build.builder.objects import create_if_missing, delete_same, refuse_foreign
from kubectl_build.builder.protect import create_policy
from kubectl_build.builder.spec import BuilderSpec, pool_architectures
from kubectl_build.builder.state import Builder, PodInfo, assemble
from kubectl_build.builder.together import together
from kubectl_build.builder.waiting import PoolVanished, PoolWait
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import CONFIGMAPS, NETWORKPOLICIES, SECRETS, STATEFULSETS
from kubectl_build.errors import Forbidden, KubectlBuildError, NotFound, UsageError
from kubectl_build.model.events import Note, Sink
from kubectl_build.model.json import JsonObject

SpecSource = Callable[[], Awaitable[BuilderSpec]]
"""Says what a builder made now is to be: `load_defaults`. Asked only when there is none."""

READY_SECONDS = 300.0
"""What a builder usually gets to be Ready, or to be gone; long enough for a cluster that first has to add a node."""

QEMU_NOTE = "--qemu-install registers emulators in the kernel of the builder's nodes, for everything that runs on them, until they restart"

_ROUNDS = 5
"""How often a pool that somebody else removes while we wait is made anew."""
_CLEAN_UP_SECONDS = 10.0


@dataclass(slots=True)
class _Made:
    """The objects that this call created; StatefulSets by architecture."""

    stateful_sets: dict[str, JsonObject] = field(default_factory=dict)
    config_map: JsonObject | None = None
    network_policy: JsonObject | None = None
    secret: JsonObject | None = None


async def ensure_pools(
    client: KubeClient,
    name: str,
    architectures: Sequence[str],
    *,
    spec_source: SpecSource,
    emit: Sink,
    deadline: float,
    found: Builder | None = None,
) -> dict[str, tuple[PodInfo, ...]]:
    """Make sure that builder `name` has a ready pod in a pool of each of `architectures`; return the ready pods by architecture.

    Creates the builder and the pools that are missing and starts those that are stopped. `found` saves looking for the builder again.
    `deadline` is in seconds from now. Raises BuilderNotReady, UsageError for a pool that the builder's fixed platforms do not have,
    ConfigError for a builder whose configuration cannot be understood, ApiError, ApiUnreachable. See the module about what is undone.
    """
    names.check_builder_name(name)
    until = asyncio.get_running_loop().time() + deadline
    builder = found or await find_builder(client, name, emit=emit)
    _tell_outdated(builder, emit)
    present = {arch: pool.usable_pods for arch in architectures if builder and (pool := builder.pool(arch)) and pool.usable_pods}
    if len(present) == len(set(architectures)):
        return present
    made = _Made()
    ready: dict[str, tuple[PodInfo, ...]] = {}
    try:
        for left in reversed(range(_ROUNDS)):
            await _create_missing(client, name, architectures, builder, spec_source, emit, made)
            replicas = (builder.spec.replicas if builder and builder.spec else None) or 1
            wait = PoolWait(client, name, architectures, replicas=replicas, emit=emit, until=until)
            try:
                return await wait.run()
            except PoolVanished:
                if not left:
                    raise
                builder = await find_builder(client, name, emit=_ignore)
            finally:
                ready = wait.ready
        raise AssertionError("the last round returns or raises")
    except BaseException:
        await _remove_what_never_started(client, name, made, ready, emit)
        raise


def _tell_outdated(builder: Builder | None, emit: Sink) -> None:
    outdated = [pod.name for pod in builder.pods if pod.outdated and not pod.terminating] if builder else []
    if builder and outdated:
        emit(
            Note(
                text=f"{', '.join(outdated)} of builder {builder.name} runs an earlier configuration; "
                "kubectl buildkit create replaces it when it is idle"
            )
        )


def _ignore(_event: object) -> None:
    """The notes of a second look were given at the first."""


async def _create_missing(
    client: KubeClient,
    name: str,
    architectures: Sequence[str],
    builder: Builder | None,
    spec_source: SpecSource,
    emit: Sink,
    made: _Made,
) -> None:
    missing = [arch for arch in dict.fromkeys(architectures) if builder is None or builder.pool(arch) is None]
    if not missing:
        return
    if builder is not None and builder.fixed:
        _refuse_other_pools(name, builder, missing)
    if builder is not None and (builder.spec or builder.problem):
        spec = builder.known_spec()
    else:
        spec = await _create_config_map(client, name, missing, await spec_source(), emit, made)
    manifests = render(name, client.namespace, spec, missing)
    secret_is_whole = all(file.content is not None for file in spec.client_files.values())
    await together(
        *([_create_secret(client, manifests, made)] if manifests.secret and secret_is_whole else []),
        *(_create_stateful_set(client, manifests, architecture, made) for architecture in missing),
    )


def _refuse_other_pools(name: str, builder: Builder, missing: Sequence[str]) -> None:
    allowed = pool_architectures(builder.platforms)
    for architecture in missing:
        if architecture not in allowed:
            platforms = ",".join(str(platform) for platform in builder.platforms)
            raise UsageError(
                f'builder "{name}" gets no pool of architecture {architecture}: it was created for the platforms {platforms} only',
                hint=f"use another builder (--builder), or create it anew: kubectl buildkit create {name} --platform ...",
            )


async def _create_config_map(
    client: KubeClient, name: str, architectures: Sequence[str], spec: BuilderSpec, emit: Sink, made: _Made
) -> BuilderSpec:
    """Create the object that says which builder this is. Of two clients at once the loser goes by the winner's spec, returned here."""
    manifests = render(name, client.namespace, spec, ())
    created = await create_if_missing(client, CONFIGMAPS, manifests.config_map)
    if created is None:
        return await _winner(client, name, spec)
    made.config_map = created
    made.network_policy = await create_policy(client, manifests.network_policy, emit)
    emit(Note(text=f'creating builder "{name}" in namespace "{client.namespace}": pool {", ".join(architectures)}, image {spec.image}'))
    if spec.qemu_install:
        emit(Note(text=QEMU_NOTE, level="warning"))
    return spec


async def _winner(client: KubeClient, name: str, spec: BuilderSpec) -> BuilderSpec:
    try:
        existing = await client.get(CONFIGMAPS, name)
    except (Forbidden, NotFound):
        return spec
    refuse_foreign(existing, CONFIGMAPS, name, client.namespace)
    builder = assemble(name, client.namespace, config_maps=[existing], stateful_sets=None, pods=())
    return spec if builder is None else builder.known_spec()


async def _create_secret(client: KubeClient, manifests: Manifests, made: _Made) -> None:
    assert manifests.secret is not None
    made.secret = await create_if_missing(client, SECRETS, manifests.secret) or made.secret


async def _create_stateful_set(client: KubeClient, manifests: Manifests, architecture: str, made: _Made) -> None:
    created = await create_if_missing(client, STATEFULSETS, manifests.stateful_sets[architecture])
    if created is not None:
        made.stateful_sets[architecture] = created


async def _remove_what_never_started(client: KubeClient, name: str, made: _Made, ready: dict[str, tuple[PodInfo, ...]], emit: Sink) -> None:
    """Undo this call's creations. A second cancellation ends it; what it cannot remove is told."""
    failed = [item for arch, item in made.stateful_sets.items() if arch not in ready]
    try:
        async with asyncio.timeout(_CLEAN_UP_SECONDS):
            await together(*(delete_same(client, STATEFULSETS, item) for item in failed))
            if made.config_map is not None and not await _has_pools(client, name):
                await delete_same(client, CONFIGMAPS, made.config_map)
                if made.network_policy is not None:
                    await delete_same(client, NETWORKPOLICIES, made.network_policy)
                if made.secret is not None:
                    await delete_same(client, SECRETS, made.secret)
    except (KubectlBuildError, TimeoutError) as exc:
        emit(Note(text=f"what was made for builder {name} could not be removed: {exc}; kubectl buildkit rm {name}", level="warning"))


async def _has_pools(client: KubeClient, name: str) -> bool:
    found = await client.list(STATEFULSETS, label_selector=names.selector(name))
    return any(not item["metadata"].get("deletionTimestamp") for item in found.items)
