"""Connections to the daemons of a builder's pods: what the pipeline and the verbs on builders share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from kubectl_build.builder.guard import guard_pod
from kubectl_build.builder.idle import PodUse
from kubectl_build.builder.names import CONTAINER
from kubectl_build.builder.state import PodInfo
from kubectl_build.buildkit.client import BuildkitClient, DaemonInfo, connect
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.exec import run
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import ConnectionLost, ungrouped
from kubectl_build.model.events import Note, Sink
from kubectl_build.model.platform import Platform
from kubectl_build.model.stream import Dialer
from kubectl_build.transport.addresses import DaemonAddress, KubePodAddress
from kubectl_build.transport.bridge import bridge
from kubectl_build.transport.dial import address_dialer
from kubectl_build.transport.pod import PodAddress, daemon_dialer, named_pod, tcp_dialer
from kubectl_build.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A live connection to one daemon.

    `pool` is its pool's architecture, `name` its pod's name or else its address, `node` where it runs, if known; `pod` is set when it is in
    a pod.
    """

    pool: str
    name: str
    client: BuildkitClient
    info: DaemonInfo
    node: str = ""
    pod: PodAddress | None = None

    @property
    def own(self) -> Platform:
        """The daemon's own platform: what BUILDPLATFORM is there."""
        return self.info.workers[0].platforms[0]


def address(pod: PodInfo) -> PodAddress:
    """Where the daemon of `pod` is reached."""
    return PodAddress(namespace=pod.namespace, name=pod.name, container=CONTAINER)


def addressed(where: DaemonAddress, kube: KubeClient | None) -> tuple[Dialer, PodAddress | None]:
    """The way to the daemon at an address, and its pod where it is in one; `kube` is the cluster of a kube-pod address.

    Raises UsageError for certificate files that cannot be used.
    """
    if not isinstance(where, KubePodAddress):
        return address_dialer(where), None
    assert kube is not None, "an address of a pod comes with its cluster"
    pod = named_pod(where, kube)
    return daemon_dialer(kube, pod), pod


@asynccontextmanager
async def open_link(kube: KubeClient, pod: PodInfo) -> AsyncIterator[Link]:
    """Connect to the daemon of `pod`; the daemon has answered when this yields. Raises DialError, Forbidden."""
    async with _dialed(daemon_dialer(kube, address(pod))) as client:
        yield Link(pool=pod.architecture, name=pod.name, node=pod.node, pod=address(pod), client=client, info=await client.info())


@asynccontextmanager
async def dialed_link(dial: Dialer, *, name: str, pod: PodAddress | None = None) -> AsyncIterator[Link]:
    """Connect to the one daemon behind `dial`, whose pool is that of its own platform. Raises DialError."""
    async with _dialed(dial) as client:
        info = await client.info()
        yield Link(pool=info.workers[0].platforms[0].architecture, name=name, pod=pod, client=client, info=info)


@asynccontextmanager
async def _dialed(dial: Dialer) -> AsyncIterator[BuildkitClient]:
    async with bridge(dial) as carrier, connect(carrier.target, failure=lambda: carrier.failure) as client:
        yield client


@asynccontextmanager
async def guarded(kube: KubeClient, pod: PodInfo) -> AsyncIterator[None]:
    """Watch `pod` while the body runs: when the pod is lost, the body is cancelled and ConnectionLost says why.

    A connection that breaks in the body is given a few seconds for the pod's own reason to show; one that is merely silent is not.
    """
    with ungrouped():
        async with asyncio.TaskGroup() as group:
            guard = group.create_task(guard_pod(kube, pod), name=f"guard {pod.name}")
            try:
                yield
            except ConnectionLost as error:
                if not error.silent:
                    # The kubelet reports a dead container within about a second.
                    await asyncio.wait({guard}, timeout=deadlines().reason)
                raise
            finally:
                guard.cancel()


async def active_builds(kube: KubeClient, pod: PodInfo) -> int:
    """How many builds the daemon of `pod` runs just now."""
    async with open_link(kube, pod) as link:
        return len(await link.client.history(active_only=True))


async def pod_use(kube: KubeClient, pod: PodInfo) -> PodUse:
    """What the daemon of `pod` remembers of its use."""
    async with open_link(kube, pod) as link:
        records = await link.client.history()
    last = max((record.completed or record.created for record in records), default=None)
    active = sum(record.completed is None for record in records)
    return PodUse(active=active, last=datetime.fromtimestamp(last, UTC) if last else None)


async def has_command(kube: KubeClient, pod: PodAddress, name: str) -> bool:
    """Whether the image of `pod` has the program `name` in its PATH. Raises DialError, Forbidden."""
    code, _, _ = await run(
        kube,
        namespace=pod.namespace,
        pod=pod.name,
        container=pod.container,
        command=["sh", "-c", 'command -v "$0"', name],
        deadline=deadlines().command,
    )
    return code == 0


async def registry_dial(kube: KubeClient, pod: PodAddress, emit: Sink) -> Callable[[str, int], Dialer] | None:
    """Reach registries from `pod`, as its daemon does; None, with a note, where its image has no nc: then they are reached from here."""
    if await has_command(kube, pod, "nc"):
        return lambda host, port: tcp_dialer(kube, pod, host, port)
    emit(Note(text=f"pod {pod.name} has no nc: registries are reached from this machine, not from the cluster", level="warning"))
    return None
