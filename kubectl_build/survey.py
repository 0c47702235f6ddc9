"""One question to every daemon of a builder, at once: what listing, deleting and examining share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Generic, TypeVar

from kubectl_build.builder.find import require_builder
from kubectl_build.builder.state import Builder, PodInfo
from kubectl_build.buildkit.client import DaemonInfo
from kubectl_build.cluster.client import KubeClient
from kubectl_build.daemons import Link, addressed, dialed_link, open_link
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import BuilderNotReady, ClusterError, ConnectionLost, KubectlBuildError
from kubectl_build.model.events import Sink
from kubectl_build.transport.addresses import DaemonAddress, parse_address
from kubectl_build.values import dataclass

DaemonInfos = dict[tuple[str, str], DaemonInfo | KubectlBuildError]
"""What each daemon says of itself, or why it does not, by its pod's namespace and name."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One daemon of a builder: `name` is its pod's or its address; `pool` and `node` are "" where they are not known.

    Entering what `open` returns connects to it, and raises BuilderNotReady for a pod that is not ready.
    """

    name: str
    pool: str = ""
    node: str = ""
    open: Callable[[], AbstractAsyncContextManager[Link]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply(Generic[T]):
    """What one daemon answered; an `error` stands for one that did not."""

    member: Member
    answer: T | None = None
    error: KubectlBuildError | None = None


async def find_members(name: str, kube: KubeClient | None, *, emit: Sink) -> tuple[Member, ...]:
    """The daemons of builder `name`, or the one at the address that it is; `kube` is None only for an address outside a cluster.

    Raises ClusterError for a builder that is not there or has no pod, UsageError for an address that is malformed.
    """
    address = parse_address(name)
    if address is not None:
        return (_addressed(address, kube),)
    assert kube is not None, "a builder that has a name is in a cluster"
    members = members_of(await require_builder(kube, name, emit=emit), kube)
    if not members:
        hint = f"start it: kubectl buildkit inspect {name} -n {kube.namespace} --bootstrap"
        raise ClusterError(f'builder "{name}" has no running pod', hint=hint)
    return members


def members_of(builder: Builder, kube: KubeClient) -> tuple[Member, ...]:
    """The daemons of all pools. A pod that is terminating counts as gone."""
    return _members((pod for pod in builder.pods if not pod.terminating), kube)


def _members(pods: Iterable[PodInfo], kube: KubeClient) -> tuple[Member, ...]:
    return tuple(Member(name=p.name, pool=p.architecture, node=p.node, open=partial(_ready_link, kube, p)) for p in pods)


async def ask_each(
    members: Sequence[Member], question: Callable[[Link], Awaitable[T]], *, deadline: float, doing: str, connecting: float | None = None
) -> tuple[Reply[T], ...]:
    """Connect to every daemon and await `question`, all at once; one that fails or takes too long does not end the others.

    `connecting` and `deadline` are seconds for the connection and for the question, which `doing` names where time runs out.
    """
    opening = deadlines().answer if connecting is None else connecting

    async def ask(member: Member) -> Reply[T]:
        try:
            async with AsyncExitStack() as stack:
                answer = await _answer(member, question, stack, opening=opening, deadline=deadline, doing=doing)
                return Reply(member=member, answer=answer)
        except KubectlBuildError as error:
            return Reply(member=member, error=error)

    return tuple(await asyncio.gather(*map(ask, members)))


async def _answer(
    member: Member, question: Callable[[Link], Awaitable[T]], stack: AsyncExitStack, *, opening: float, deadline: float, doing: str
) -> T:
    """Connect, and leave the connection to `stack`; then await `question`."""
    with _within(opening, "connecting"):
        async with asyncio.timeout(opening):
            link = await stack.enter_async_context(member.open())
    with _within(deadline, doing):
        async with asyncio.timeout(deadline):
            return await question(link)


async def daemon_infos(kube: KubeClient, pods: Sequence[PodInfo]) -> DaemonInfos:
    """Version and workers of each pod's daemon; an error stands for a pod that did not answer."""

    async def said(link: Link) -> DaemonInfo:
        return link.info

    replies = await ask_each(_members(pods, kube), said, deadline=deadlines().call, doing="asking the daemon")
    found = {(pod.namespace, pod.name): reply.answer or reply.error for pod, reply in zip(pods, replies, strict=True)}
    return {pod: answer for pod, answer in found.items() if answer}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A pod, how many builds its daemon runs, and the connection by which it said so. Closing `opened` closes that."""

    pod: PodInfo
    builds: int
    link: Link
    opened: AsyncExitStack


async def loads(kube: KubeClient, pods: Sequence[PodInfo]) -> tuple[Loaded, ...]:
    """Ask each pod's daemon how many builds it runs; a pod that does not answer within some seconds is left out.

    The connections are the caller's to close. Cancelling this closes those that there are.
    """
    limit = deadlines().load

    async def active(link: Link) -> tuple[Link, int]:
        return link, len(await link.client.history(active_only=True))

    async def ask(pod: PodInfo, member: Member, opened: AsyncExitStack) -> Loaded | None:
        try:
            link, builds = await _answer(member, active, opened, opening=limit, deadline=limit, doing="listing the builds")
        except KubectlBuildError:
            await opened.aclose()
            return None
        return Loaded(pod=pod, builds=builds, link=link, opened=opened)

    each = [(pod, member, AsyncExitStack()) for pod, member in zip(pods, _members(pods, kube), strict=True)]
    try:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(ask(*one)) for one in each]
    except BaseException:
        await asyncio.gather(*(opened.aclose() for _, _, opened in each))
        raise
    return tuple(loaded for task in asked if (loaded := task.result()) is not None)


@contextmanager
def _within(seconds: float, doing: str) -> Iterator[None]:
    """Tell what took too long."""
    try:
        yield
    except TimeoutError as error:
        raise ConnectionLost(f"{doing} took longer than {seconds:g} s") from error


@asynccontextmanager
async def _ready_link(kube: KubeClient, pod: PodInfo) -> AsyncIterator[Link]:
    if not pod.ready:
        raise BuilderNotReady(f"pod {pod.name} is not ready", hint="see: kubectl buildkit doctor")
    async with open_link(kube, pod) as link:
        yield link


def _addressed(address: DaemonAddress, kube: KubeClient | None) -> Member:
    dial, pod = addressed(address, kube)
    return Member(name=pod.name if pod else str(address), open=partial(dialed_link, dial, name=str(address), pod=pod))
