"""What is examined, and the facts that several checks need: each is asked for once, when the first check wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from kubectl_build.builder import names
from kubectl_build.builder.find import find_builder
from kubectl_build.builder.state import Builder
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import NODES, PODS, Resource
from kubectl_build.deadlines import deadlines
from kubectl_build.doctor.vitals import Vitals, take_vitals
from kubectl_build.errors import KubectlBuildError
from kubectl_build.model.events import BuildEvent
from kubectl_build.model.json import JsonObject
from kubectl_build.model.reference import Reference
from kubectl_build.survey import Member, Reply, ask_each, find_members, members_of
from kubectl_build.transport.addresses import KubePodAddress, parse_address
from kubectl_build.transport.pod import PodAddress, named_pod

T = TypeVar("T")

SELF_REVIEWS = Resource("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False)


class Patient:
    """A builder in its cluster, or the daemon at an address (then `kube` is None unless it is in a pod).

    Every fact may be asked for by many checks at once and raises the same KubectlBuildError for all. Leaving ends what is still asked.
    """

    def __init__(
        self, kube: KubeClient | None, name: str, *, image: Reference | None, secrets: Sequence[str], environ: Mapping[str, str]
    ) -> None:
        self.kube = kube
        self.name = name
        self.image = image
        self.secrets = tuple(secrets)
        self.environ = environ
        self.address = parse_address(name)
        self._facts: dict[str, asyncio.Future[Any]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for fact in self._facts.values():
            fact.cancel()
        await asyncio.gather(*self._facts.values(), return_exceptions=True)

    @property
    def cluster(self) -> KubeClient:
        """The cluster, for checks that are only made where there is one."""
        assert self.kube is not None, "this check is for builders in a cluster"
        return self.kube

    def typed(self, command: str) -> str:
        """`command` for the cluster's namespace; as it is where there is no cluster."""
        return f"{command} -n {self.kube.namespace}" if self.kube is not None else command

    def changed(self, flags: str) -> str:
        """The command that changes the builder; "" for a daemon that is none."""
        return self.typed(f"kubectl buildkit create {self.name} {flags}") if self.address is None else ""

    @property
    def pod_address(self) -> PodAddress | None:
        """The pod that the address names, if it is one."""
        return named_pod(self.address, self.cluster) if isinstance(self.address, KubePodAddress) else None

    async def builder(self) -> Builder | None:
        """The builder; None when there is none of this name, and for an address."""
        return await self._fact("builder", self._find_builder)

    async def builder_if_known(self) -> Builder | None:
        """As `builder`; None too where it may not be asked for, which is another check's finding."""
        try:
            return await self.builder()
        except KubectlBuildError:
            return None

    async def pods(self) -> list[JsonObject]:
        """The builder's pods as the API server has them."""
        return await self._fact("pods", self._list_pods)

    async def nodes(self) -> list[JsonObject]:
        """All nodes of the cluster."""
        return await self._fact("nodes", self._list_nodes)

    async def user(self) -> str:
        """Who the API server takes this user for; as the kubeconfig calls it where the server is too old to say."""
        return await self._fact("user", self._ask_user)

    async def members(self) -> tuple[Member, ...]:
        """The daemons whose pods are ready; why others are not is told of the pods."""
        return await self._fact("members", self._find_members)

    async def vitals(self) -> tuple[Reply[Vitals], ...]:
        """What every daemon that is ready says of itself."""
        return await self._fact("vitals", self._take_vitals)

    async def _fact(self, key: str, ask: Callable[[], Awaitable[T]]) -> T:
        if key not in self._facts:
            self._facts[key] = asyncio.ensure_future(ask())
        # The check's own deadline must not end what others wait for.
        result: T = await asyncio.shield(self._facts[key])
        return result

    async def _find_builder(self) -> Builder | None:
        return None if self.address is not None else await find_builder(self.cluster, self.name, emit=_silent)

    async def _list_pods(self) -> list[JsonObject]:
        return (await self.cluster.list(PODS, label_selector=names.selector(self.name))).items

    async def _list_nodes(self) -> list[JsonObject]:
        return [node async for page in self.cluster.pages(NODES) for node in page]

    async def _ask_user(self) -> str:
        try:
            answer = await self.cluster.create(SELF_REVIEWS, {"apiVersion": SELF_REVIEWS.api_version, "kind": SELF_REVIEWS.kind})
        except KubectlBuildError:
            return self.cluster.user_name
        info = (answer.get("status") or {}).get("userInfo") or {}
        return str(info.get("username") or self.cluster.user_name)

    async def _find_members(self) -> tuple[Member, ...]:
        if self.address is not None:
            return await find_members(self.name, self.kube, emit=_silent)
        builder = await self.builder()
        if builder is None:
            return ()
        usable = {pod.name for pod in builder.pods if pod.usable}
        return tuple(member for member in members_of(builder, self.cluster) if member.name in usable)

    async def _take_vitals(self) -> tuple[Reply[Vitals], ...]:
        kube = self.kube if self.address is None or isinstance(self.address, KubePodAddress) else None
        members = await self.members()
        return await ask_each(members, lambda link: take_vitals(link, kube), deadline=deadlines().call, doing="examining the daemon")


def _silent(event: BuildEvent) -> None:
    """What is not known is a finding of the check that misses it, not a note."""
