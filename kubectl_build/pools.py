"""The pools that a build may use: those of a builder in the cluster, or the one daemon that an address names.

A build needs no more of them than `Pools` says, so that planning, solving and joining are the same for both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress
from dataclasses import field
from typing import Protocol

from kubectl_build.builder.bootstrap import ensure_pools
from kubectl_build.builder.choose import choose
from kubectl_build.builder.defaults import load_defaults
from kubectl_build.builder.find import find_builder, list_builders
from kubectl_build.builder.idle import record_use, stop_idle, was_just_used
from kubectl_build.builder.keep import kept
from kubectl_build.builder.leases import Leases
from kubectl_build.builder.nodes import count_nodes, find_architectures
from kubectl_build.builder.spec import BuilderSpec, RegistrySettings, pool_architectures, registry_trust, runs_arm32
from kubectl_build.builder.state import Builder, PodInfo
from kubectl_build.builder.trust import load_registries
from kubectl_build.cluster.client import KubeClient
from kubectl_build.daemons import Link, addressed, dialed_link, guarded, has_command, open_link, pod_use, registry_dial
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import KubectlBuildError
from kubectl_build.held import held
from kubectl_build.model.events import Note, Sink
from kubectl_build.model.platform import Platform, native_architecture
from kubectl_build.model.stream import Dialer
from kubectl_build.plan import Candidates
from kubectl_build.transport.addresses import DaemonAddress
from kubectl_build.transport.pod import PodAddress
from kubectl_build.values import dataclass

_USUAL_NODES = ("amd64", "arm64")
"""The architectures that are taken to be there where nodes may not be listed."""


_KNOWN_SECONDS = 5.0
"""How long what was found of a builder is taken for what is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How registries are reached from where a daemon is: its settings for a host, and a dialer; None for directly from this machine."""

    settings: Callable[[str], RegistrySettings]
    dial: Callable[[str, int], Dialer] | None


class Pools(Protocol):
    """The pools that a build may use."""

    @property
    def candidates(self) -> Candidates:
        """What planning may reckon with."""

    def runs(self, pool: str) -> bool:
        """Whether a daemon of `pool` can be asked without starting one."""

    async def ensure(self, pools: Sequence[str]) -> None:
        """Start what is missing of `pools` and wait until each has a daemon that answers. Raises ClusterError."""

    def link(self, pool: str) -> AbstractAsyncContextManager[Link]:
        """Connect to a daemon of `pool`, started if need be; the same build meets the same one, so that it finds its cache."""

    def in_use(self, link: Link, platforms: Sequence[Platform], context: str) -> AbstractAsyncContextManager[None]:
        """Tell others, where there are any, that the daemon of `link` builds `platforms` of what is called `context` in the body."""

    def left_in_order(self) -> AbstractAsyncContextManager[object]:
        """What `in_use` has told is taken back when this is left, with a limit; every `in_use` is within it."""

    async def has_command(self, link: Link, name: str) -> bool:
        """Whether the program `name` is where the daemon runs."""

    async def route(self, link: Link) -> Route:
        """How registries are reached from where the daemon of `link` is."""

    def settings(self, host: str) -> RegistrySettings:
        """How daemons reach the registry `host`, as far as is known without asking one."""


@dataclass(slots=True, kw_only=True)
class ClusterPools:
    """The pools of the builder `name` in the cluster, as they were found; `defaults` are of a builder that is still to be made."""

    name: str
    kube: KubeClient
    emit: Sink
    context_key: str
    candidates: Candidates
    builder: Builder | None
    defaults: BuilderSpec | None = None
    _pods: dict[str, tuple[PodInfo, ...]] = field(default_factory=dict)
    _linked: dict[str, PodInfo] = field(default_factory=dict)
    _leases: Leases = field(init=False)
    _looked_around: bool = False
    _asked: set[str] = field(default_factory=set)
    _ensured: set[str] = field(default_factory=set)
    _since: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._leases = Leases(self.kube, self.name, self.emit)

    def runs(self, pool: str) -> bool:
        """As Pools.runs."""
        found = self.builder.pool(pool) if self.builder else None
        return bool(found and found.usable_pods)

    async def ensure(self, pools: Sequence[str]) -> None:
        """As Pools.ensure; creates the builder and its pools when they are missing. Looks again, but for the first time soon after."""
        known = self._asked.isdisjoint(pools) and time.monotonic() - self._since < _KNOWN_SECONDS
        self._asked.update(pools)
        self._pods |= await ensure_pools(
            self.kube,
            self.name,
            pools,
            spec_source=self._spec,
            emit=self.emit,
            deadline=deadlines().ready,
            found=self.builder if known else None,
        )
        self._ensured.update(pools)

    async def _spec(self) -> BuilderSpec:
        """What the plan has reckoned with, else (the builder is gone since then) as it is now."""
        return self.defaults or await load_defaults(self.kube, self.emit)

    def settings(self, host: str) -> RegistrySettings:
        """As Pools.settings: what the builder was made with, or will be."""
        spec = self.builder.spec if self.builder else self.defaults
        return registry_trust(spec.registries, host) if spec else RegistrySettings()

    @asynccontextmanager
    async def link(self, pool: str) -> AsyncIterator[Link]:
        """As Pools.link; the pod is watched meanwhile. Raises ConnectionLost with the reason when it is lost."""
        if pool not in self._ensured:
            await self.ensure([pool])
        self._ensured.discard(pool)  # the next link comes later, or since this one broke
        async with AsyncExitStack() as stack:
            pod, link = await self._chosen(self._pods[pool], stack)
            self._linked[pod.name] = pod
            await stack.enter_async_context(guarded(self.kube, pod))
            if link is None:
                link = await stack.enter_async_context(open_link(self.kube, pod))
            client = link.client

            async def active() -> int:
                return len(await client.history(active_only=True))

            async with kept(self.kube, pod, active=active, emit=self.emit):
                yield link

    async def _chosen(self, pods: Sequence[PodInfo], stack: AsyncExitStack) -> tuple[PodInfo, Link | None]:
        """The pod for this build and, where several were asked, the link to it; `stack` closes all that was opened."""
        if len(pods) == 1:
            return pods[0], None
        from kubectl_build.survey import loads  # few pools have several pods

        found = await loads(self.kube, pods)
        known = tuple(loaded.pod for loaded in found) or tuple(pods)
        chosen = choose(known, self.context_key, {loaded.pod.name: loaded.builds for loaded in found})
        # Beside the build: a pod that hangs takes some seconds.
        others = asyncio.gather(*(loaded.opened.aclose() for loaded in found if loaded.pod is not chosen), return_exceptions=True)
        stack.push_async_callback(asyncio.wait, [others])
        mine = next((loaded for loaded in found if loaded.pod is chosen), None)
        if mine is None:
            return chosen, None
        stack.push_async_exit(mine.opened)
        return chosen, mine.link

    @asynccontextmanager
    async def in_use(self, link: Link, platforms: Sequence[Platform], context: str) -> AsyncIterator[None]:
        """As Pools.in_use: by a Lease and on the pool. What is due in the namespace is done meanwhile, by the first that comes."""
        pod, told = self._linked[link.name], [str(platform) for platform in platforms]
        chores = asyncio.create_task(self._chores(link.pool), name=f"chores of {self.name}")
        try:
            with self._leases.held(pod, platforms=told, context=context):
                yield
        finally:
            chores.cancel()
            await asyncio.wait({chores})

    def left_in_order(self) -> AbstractAsyncContextManager[object]:
        """As Pools.left_in_order."""
        return self._leases

    async def _chores(self, pool: str) -> None:
        """Record the use of `pool`, and stop what is idle, where that is allowed: a build never fails for it."""
        found = self.builder.pool(pool) if self.builder else None
        if found is not None and was_just_used(found):
            return  # by a build that began within this minute, and did all this
        if found is not None:
            with suppress(KubectlBuildError):
                await record_use(self.kube, found, self.kube.namespace)
        if self._looked_around:
            return
        self._looked_around = True
        with suppress(KubectlBuildError):
            others = [builder for builder in await list_builders(self.kube, emit=_ignore) if builder.name != self.name]
            for stopped in await stop_idle(self.kube, others, ask=lambda pod: pod_use(self.kube, pod)):
                self.emit(Note(text=str(stopped)))

    async def has_command(self, link: Link, name: str) -> bool:
        """As Pools.has_command. Raises DialError, Forbidden."""
        return await has_command(self.kube, _address(link), name)

    async def route(self, link: Link) -> Route:
        """As Pools.route: through the pod, with the builder's own settings. Raises ApiError, DialError."""
        builder = await find_builder(self.kube, self.name, emit=self.emit)
        pod = next((pod for pod in builder.pods if pod.name == link.name), None) if builder else None
        registries = await load_registries(self.kube, builder, pod) if builder and pod else {}
        dial = await registry_dial(self.kube, _address(link), self.emit)
        return Route(settings=lambda host: registry_trust(registries, host), dial=dial)


def _ignore(_event: object) -> None:
    """What a look at other builders notes is nothing to this build."""


def _address(link: Link) -> PodAddress:
    assert link.pod is not None, "a link to a builder's pool has a pod"
    return link.pod


async def find_cluster_pools(name: str, kube: KubeClient, *, platforms: Sequence[Platform], context_key: str, emit: Sink) -> ClusterPools:
    """Look at the builder, the nodes and, for a builder to be made, the defaults. Creates nothing. Raises ClusterError, ConfigError."""
    async with asyncio.TaskGroup() as group:
        found = group.create_task(held(find_builder(kube, name, emit=emit)))
        asked = group.create_task(held(find_architectures(kube, emit)))
    builder, nodes = found.result()(), asked.result()()
    defaults = await load_defaults(kube, emit) if builder is None else None
    spec = builder.spec if builder else defaults
    shape = spec.pod if spec and (spec.pod.node_selector or spec.pod.tolerations) else None
    if nodes and len(nodes) > 1 and not (builder and builder.pools):
        nodes = await count_nodes(kube, emit, shape)  # which architecture has most nodes matters where no pool does
    elif nodes is not None and shape:
        nodes = await find_architectures(kube, emit, shape)
    return ClusterPools(
        name=name,
        kube=kube,
        emit=emit,
        context_key=context_key,
        candidates=pool_candidates(builder, defaults, nodes, platforms),
        builder=builder,
        defaults=defaults,
    )


def pool_candidates(
    builder: Builder | None, defaults: BuilderSpec | None, nodes: Mapping[str, int] | None, asked: Sequence[Platform]
) -> Candidates:
    """The pools that a build of the `asked` platforms may use; `defaults` are of a builder to be made.

    Where nodes may not be listed, a builder without pools is taken to find what was asked for among the usual ones.
    """
    existing = tuple(pool.architecture for pool in builder.pools) if builder else ()
    platforms = builder.platforms if builder else defaults.platforms if defaults else ()
    if platforms:
        existing = tuple(dict.fromkeys([*existing, *pool_architectures(platforms)]))
    elif nodes is None and not existing:
        wanted = {native_architecture(platform): 1 for platform in asked if platform.os == "linux"}
        nodes = {arch: 1 for arch in wanted if arch in _USUAL_NODES} or {"amd64": 1}
    spec = builder.spec if builder else defaults
    labels = ",".join(f"{key}={value}" for key, value in spec.pod.node_selector.items()) if spec else ""
    return Candidates(existing=existing, nodes=nodes, fixed=bool(platforms), arm32=runs_arm32(platforms), labels=labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonPools:
    """The one pool of a daemon that an address names: of the architecture that its own platform has. Every link is a new connection.

    `kube` and `pod` are set where it is in a pod, so that programs beside it can be asked for.
    """

    candidates: Candidates
    open_link: Callable[[], AbstractAsyncContextManager[Link]]
    emit: Sink
    kube: KubeClient | None = None
    pod: PodAddress | None = None

    def runs(self, pool: str) -> bool:
        """As Pools.runs."""
        return pool in self.candidates.existing

    async def ensure(self, pools: Sequence[str]) -> None:
        """As Pools.ensure: it runs, or linking to it says why not."""

    def settings(self, host: str) -> RegistrySettings:
        """As Pools.settings: nothing is known."""
        return RegistrySettings()

    def link(self, pool: str) -> AbstractAsyncContextManager[Link]:
        """As Pools.link. Raises DialError."""
        return self.open_link()

    def in_use(self, link: Link, platforms: Sequence[Platform], context: str) -> AbstractAsyncContextManager[None]:
        """As Pools.in_use: there is nowhere to tell it."""
        return nullcontext()

    def left_in_order(self) -> AbstractAsyncContextManager[object]:
        """As Pools.left_in_order."""
        return nullcontext()

    async def has_command(self, link: Link, name: str) -> bool:
        """As Pools.has_command; what is beside a daemon that is not in a pod is not known, so False."""
        return self.kube is not None and self.pod is not None and await has_command(self.kube, self.pod, name)

    async def route(self, link: Link) -> Route:
        """As Pools.route: a daemon's own settings cannot be asked for."""
        dial = await registry_dial(self.kube, self.pod, self.emit) if self.kube is not None and self.pod is not None else None
        return Route(settings=lambda host: RegistrySettings(), dial=dial)


async def find_daemon_pools(address: DaemonAddress, kube: KubeClient | None, *, emit: Sink) -> DaemonPools:
    """Ask the daemon at `address` what it is; `kube` is the cluster of a kube-pod address. Raises DialError, ClusterError."""
    dial, pod = addressed(address, kube)

    def link() -> AbstractAsyncContextManager[Link]:
        return dialed_link(dial, name=str(address), pod=pod)

    async with link() as first:
        architecture = first.own.architecture
    return DaemonPools(
        candidates=Candidates(
            existing=(architecture,), fixed=True, arm32=any(p.architecture == "arm" for p in first.info.workers[0].platforms)
        ),
        open_link=link,
        emit=emit,
        kube=kube if pod else None,
        pod=pod,
    )
