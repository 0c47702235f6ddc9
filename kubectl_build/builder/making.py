"""Making the pools of a builder that are missing, and undoing what never started."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import field

from kubectl_build.builder import names
from kubectl_build.builder.bootstrap import QEMU_NOTE, SpecSource
from kubectl_build.builder.explain import explain_exposed
from kubectl_build.builder.find import find_builder
from kubectl_build.builder.ladder import Choice, choose_level
from kubectl_build.builder.manifests import Manifests, render
from kubectl_build.builder.objects import create_if_missing, delete_same, refuse_foreign
from kubectl_build.builder.protect import create_policy
from kubectl_build.builder.security import AUTO, LADDER, PRIVILEGED, keeps_host_users, level_of
from kubectl_build.builder.spec import BuilderSpec, pool_architectures
from kubectl_build.builder.state import Builder, PodInfo, assemble
from kubectl_build.builder.together import together
from kubectl_build.builder.untried import is_untried
from kubectl_build.builder.waiting import LevelFailure, PoolVanished, PoolWait, level_failure
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import CONFIGMAPS, NETWORKPOLICIES, SECRETS, STATEFULSETS
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import BuilderNotReady, Forbidden, KubectlBuildError, NotFound, UsageError
from kubectl_build.model.events import Note, Sink
from kubectl_build.model.json import JsonObject
from kubectl_build.values import dataclass

_ROUNDS = 5
"""How often a pool that somebody else removes while we wait is made anew."""
_OTHERS_INTERVAL = 0.5


@dataclass(slots=True)
class _Made:
    """The objects that this call created; StatefulSets by architecture."""

    stateful_sets: dict[str, JsonObject] = field(default_factory=dict)
    config_map: JsonObject | None = None
    network_policy: JsonObject | None = None
    secret: JsonObject | None = None


def _ignore(_event: object) -> None:
    """The notes of a second look were given at the first."""


@dataclass(slots=True)
class Making:
    """One call of ensure_pools that finds something missing.

    `fresh` are the uids of the StatefulSets that nobody has used yet, `levels` the security levels of the pools that are to be made.
    """

    client: KubeClient
    name: str
    architectures: tuple[str, ...]
    spec_source: SpecSource
    emit: Sink
    fresh: dict[str, str]
    made: _Made = field(default_factory=_Made)
    levels: dict[str, Choice] = field(default_factory=dict)
    spec: BuilderSpec | None = None

    async def run(self, builder: Builder | None, until: float) -> dict[str, tuple[PodInfo, ...]]:
        ready: dict[str, tuple[PodInfo, ...]] = {}
        try:
            for left in reversed(range(_ROUNDS)):
                try:
                    await self._create_missing(builder)
                    replicas = (builder.spec.replicas if builder and builder.spec else None) or 1
                    wait = PoolWait(self.client, self.name, self.architectures, replicas=replicas, emit=self.emit, until=until)
                    try:
                        return await wait.run()
                    finally:
                        ready = wait.ready
                except PoolVanished:
                    if not left:
                        raise
                except LevelFailure as failure:
                    if not left:
                        raise
                    await self._go_down(failure, builder)
                builder = await find_builder(self.client, self.name, emit=_ignore)
            raise AssertionError("the last round returns or raises")
        except BaseException:
            await self._remove_what_never_started(ready)
            raise

    async def _create_missing(self, builder: Builder | None) -> None:
        missing = [
            arch for arch in dict.fromkeys(self.architectures) if arch in self.levels or builder is None or builder.pool(arch) is None
        ]
        if not missing:
            return
        if builder is not None and builder.fixed:
            _refuse_other_pools(self.name, builder, missing)
        if builder is not None and (builder.spec or builder.problem):
            self.spec = builder.known_spec()
        else:
            # A builder that the namespace does not admit is not even begun.
            wanted = await self.spec_source()
            await self._choose_levels(wanted, missing)
            self.spec = await self._create_config_map(missing, wanted)
            if self.spec != wanted:
                self.levels.clear()
        await self._choose_levels(self.spec, missing)
        levels = {arch: self.levels.pop(arch) for arch in missing}
        named = {arch: choice.level for arch, choice in levels.items()}
        manifests = render(self.name, self.client.namespace, self.spec, missing, levels=named)
        secret_is_whole = all(file.content is not None for file in self.spec.client_files.values())
        await together(
            *([self._create_secret(manifests)] if manifests.secret and secret_is_whole else []),
            *(self._create_stateful_set(manifests, choice) for choice in levels.values()),
        )
        self._require_host_users()

    async def _choose_levels(self, spec: BuilderSpec, missing: Sequence[str]) -> None:
        undecided = [arch for arch in missing if arch not in self.levels]
        choices = await together(*(choose_level(self.client, self.name, spec, arch) for arch in undecided))
        self.levels.update({choice.architecture: choice for choice in choices})

    async def _create_config_map(self, architectures: Sequence[str], spec: BuilderSpec) -> BuilderSpec:
        """Create the object that says which builder this is. Of two clients at once the loser goes by the winner's spec, returned here."""
        manifests = render(self.name, self.client.namespace, spec, ())
        created = await create_if_missing(self.client, CONFIGMAPS, manifests.config_map)
        if created is None:
            return await _winner(self.client, self.name, spec)
        self.made.config_map = created
        self.made.network_policy = await create_policy(self.client, manifests.network_policy, self.emit)
        pools = ", ".join(architectures)
        self.emit(Note(text=f'creating builder "{self.name}" in namespace "{self.client.namespace}": pool {pools}, image {spec.image}'))
        if spec.qemu_install:
            self.emit(Note(text=QEMU_NOTE, level="warning"))
        return spec

    async def _create_secret(self, manifests: Manifests) -> None:
        assert manifests.secret is not None
        self.made.secret = await create_if_missing(self.client, SECRETS, manifests.secret) or self.made.secret

    async def _create_stateful_set(self, manifests: Manifests, choice: Choice) -> None:
        created = await create_if_missing(self.client, STATEFULSETS, manifests.stateful_sets[choice.architecture])
        if created is not None:
            self.emit(choice.note)
            self.made.stateful_sets[choice.architecture] = created
            self.fresh[choice.architecture] = created["metadata"]["uid"]

    def _require_host_users(self) -> None:
        """Raise LevelFailure when the API server left out what keeps a pod from being privileged on its node."""
        for architecture, created in self.made.stateful_sets.items():
            if not keeps_host_users(created["spec"]["template"]):
                found = explain_exposed(f"StatefulSet {created['metadata']['name']}")
                raise level_failure(self.name, architecture, created, found)

    async def _go_down(self, failure: LevelFailure, builder: Builder | None) -> None:
        """Prepare that the pool which failed is made again, one security level down.

        Raises `failure` when that cannot be, or is not for us to do: a level that was asked for by name stays, and so does one with which
        people may have built.
        """
        architecture, failed = failure.architecture, failure.stateful_set
        level = level_of(failed["spec"]["template"])
        spec = (builder.spec if builder else None) or self.spec
        if spec is None or spec.security != AUTO or level == PRIVILEGED:
            raise failure
        if self.fresh.get(architecture) != failed["metadata"]["uid"]:
            if await self._somebody_replaces(failed):
                return
            if not await is_untried(self.client, failed):
                below = LADDER[LADDER.index(level) + 1]
                failure.hint = f"{failure.hint}; or take a lower level: kubectl buildkit create {self.name} --security {below}"
                raise failure
        try:
            choice = await choose_level(self.client, self.name, spec, architecture, below=level)
        except BuilderNotReady as exc:
            self.emit(Note(text=exc.message, level="warning"))
            raise failure from exc
        try:
            await delete_same(self.client, STATEFULSETS, failed)
        except Forbidden as exc:  # somebody else made it
            failure.hint = f"somebody who may make builders can: kubectl buildkit inspect {self.name} --bootstrap"
            raise failure from exc
        self.emit(Note(text=f"pool {architecture} cannot start with security {level}: {failure.why}", level="warning"))
        self.made.stateful_sets.pop(architecture, None)
        self.levels[architecture] = choice

    async def _somebody_replaces(self, stateful_set: JsonObject) -> bool:
        """Whether the client that has made a StatefulSet which cannot start takes it away within some seconds, to make another."""
        metadata = stateful_set["metadata"]
        with suppress(TimeoutError):
            async with asyncio.timeout(deadlines().others):
                while True:
                    await asyncio.sleep(_OTHERS_INTERVAL)
                    try:
                        now = await self.client.get(STATEFULSETS, metadata["name"])
                    except NotFound:
                        return True
                    if now["metadata"]["uid"] != metadata["uid"] or now["metadata"].get("deletionTimestamp"):
                        return True
        return False

    async def _remove_what_never_started(self, ready: dict[str, tuple[PodInfo, ...]]) -> None:
        """Undo this call's creations. A second cancellation ends it; what it cannot remove is told."""
        made = self.made
        failed = [item for arch, item in made.stateful_sets.items() if arch not in ready]
        try:
            async with asyncio.timeout(deadlines().cleanup):
                await together(*(delete_same(self.client, STATEFULSETS, item) for item in failed))
                if made.config_map is not None and not await _has_pools(self.client, self.name):
                    await delete_same(self.client, CONFIGMAPS, made.config_map)
                    if made.network_policy is not None:
                        await delete_same(self.client, NETWORKPOLICIES, made.network_policy)
                    if made.secret is not None:
                        await delete_same(self.client, SECRETS, made.secret)
        except (KubectlBuildError, TimeoutError) as exc:
            command = f"kubectl buildkit rm {self.name} -n {self.client.namespace}"
            text = f"what was made for builder {self.name} could not be removed: {exc}; {command}"
            self.emit(Note(text=text, level="warning"))


def _refuse_other_pools(name: str, builder: Builder, missing: Sequence[str]) -> None:
    allowed = pool_architectures(builder.platforms)
    for architecture in missing:
        if architecture not in allowed:
            platforms = ",".join(str(platform) for platform in builder.platforms)
            raise UsageError(
                f'builder "{name}" gets no pool of architecture {architecture}: it was created for the platforms {platforms} only',
                hint=f"use another builder (--builder), or create it anew: "
                f"kubectl buildkit create {name} -n {builder.namespace} --platform ...",
            )


async def _winner(client: KubeClient, name: str, spec: BuilderSpec) -> BuilderSpec:
    try:
        existing = await client.get(CONFIGMAPS, name)
    except (Forbidden, NotFound):
        return spec
    refuse_foreign(existing, CONFIGMAPS, name, client.namespace)
    builder = assemble(name, client.namespace, config_maps=[existing], stateful_sets=None, pods=())
    return spec if builder is None else builder.known_spec()


async def _has_pools(client: KubeClient, name: str) -> bool:
    found = await client.list(STATEFULSETS, label_selector=names.selector(name))
    return any(not item["metadata"].get("deletionTimestamp") for item in found.items)
