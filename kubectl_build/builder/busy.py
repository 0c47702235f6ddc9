"""Which pods of a builder build just now, and for whom: what `rm`, `stop` and changes wait for.

The daemon's own list of builds is the truth; Leases say who builds, and speak for a daemon that does not answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from kubectl_build.builder import names
from kubectl_build.builder.leases import Lease, Sightings, living_leases
from kubectl_build.builder.state import PodInfo, pod_info
from kubectl_build.builder.together import together
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import PODS
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import ClusterError, KubectlBuildError
from kubectl_build.model.events import Note, Sink
from kubectl_build.values import dataclass

ActiveBuilds = Callable[[PodInfo], Awaitable[int]]
"""Counts the builds that a pod's daemon runs now. Raises KubectlBuildError when the daemon cannot be asked."""

_ASK_INTERVAL = 2.0
"""Between two questions to the daemons: nothing tells of the end of somebody else's build."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BusyPod:
    """A pod that builds. `builds` is None where its daemon does not answer; `holders` are the builds that Leases tell of."""

    pod: PodInfo
    builds: int | None
    holders: tuple[Lease, ...] = ()

    def __str__(self) -> str:
        told = [str(lease) for lease in self.holders]
        untold = (self.builds or 0) - len(told)
        if not told and self.builds is None:
            return f"pod {self.pod.name} does not say whether it builds"
        if not told:
            return f"pod {self.pod.name} runs {untold} {'build' if untold == 1 else 'builds'}, and no Lease tells whose"
        return f"pod {self.pod.name} builds for {', '.join(told)}" + (f" and {untold} more" if untold > 0 else "")


async def building(client: KubeClient, name: str, pod: PodInfo, active_builds: ActiveBuilds) -> BusyPod | None:
    """`pod` of builder `name` with those it builds for, None when it builds nothing. One that cannot be asked counts as building."""
    try:
        builds = await active_builds(pod)
    except KubectlBuildError:
        builds = None
    if builds == 0:
        return None
    try:
        holders = tuple(lease for lease in await living_leases(client, name) if lease.pod == pod.name)
    except KubectlBuildError:
        holders = ()
    return BusyPod(pod=pod, builds=builds, holders=holders)


class Busy:
    """Looks at one builder's pods; keeps what it has seen of Leases from one look to the next."""

    def __init__(self, client: KubeClient, name: str, active_builds: ActiveBuilds, emit: Sink) -> None:
        self._client, self._name, self._active_builds, self._emit = client, name, active_builds, emit
        self._sightings = Sightings()
        self._unknown: set[str] = set()

    async def look(self) -> tuple[BusyPod, ...]:
        """The pods that build now. A daemon that cannot be asked, and for which no Lease speaks, counts as idle, with a note.

        Raises Forbidden when pods may not be listed, ApiError, ApiUnreachable.
        """
        listed = await self._client.list(PODS, label_selector=names.selector(self._name))
        pods = [pod for pod in map(pod_info, listed.items) if pod.phase == "Running" and not pod.terminating]
        found = await together(*(self._ask(pod) for pod in pods))
        if not any(isinstance(answer, KubectlBuildError) or answer for answer in found):
            return ()
        leases = await living_leases(self._client, self._name, self._sightings)
        busy = []
        for pod, answer in zip(pods, found, strict=True):
            holders = tuple(lease for lease in leases if lease.pod == pod.name)
            if isinstance(answer, KubectlBuildError):
                if holders:
                    busy.append(BusyPod(pod=pod, builds=None, holders=holders))
                else:
                    self._tell_unknown(pod, answer)
            elif answer:
                busy.append(BusyPod(pod=pod, builds=answer, holders=holders))
        return tuple(busy)

    async def _ask(self, pod: PodInfo) -> int | KubectlBuildError:
        limit = deadlines().load
        try:
            async with asyncio.timeout(limit):
                return await self._active_builds(pod)
        except KubectlBuildError as error:
            return error
        except TimeoutError:
            return ClusterError(f"its daemon did not answer within {limit:g} s")

    def _tell_unknown(self, pod: PodInfo, error: KubectlBuildError) -> None:
        if pod.name not in self._unknown:
            self._unknown.add(pod.name)
            self._emit(Note(text=f"whether pod {pod.name} builds is not known: {error.message}", level="warning"))


async def wait_until_idle(
    client: KubeClient, name: str, *, active_builds: ActiveBuilds, doing: str, emit: Sink, deadline: float, force: bool = False
) -> None:
    """Wait until no pod of builder `name` builds, telling who is waited for; with `force` only tell whose builds end.

    `doing` is what comes then, in one word ("stopped"). `deadline` is in seconds from now; 0 looks once. Raises ClusterError with those who
    still build at the deadline, ApiError.
    """
    until = asyncio.get_running_loop().time() + deadline
    busy_pods, said = Busy(client, name, active_builds, emit), ""
    try:
        while busy := await busy_pods.look():
            who = _joined(busy)
            if force:
                emit(Note(text=f'builder "{name}" is {doing} although it builds: {who}', level="warning"))
                return
            if asyncio.get_running_loop().time() + _ASK_INTERVAL > until:
                raise ClusterError(
                    f'builder "{name}" was not {doing}, as it builds: {who}',
                    hint="--timeout 1h waits longer for the builds to end, --force ends them",
                )
            said = f'builder "{name}" is {doing} when its builds have ended: {who}'
            emit(Note(text=said, level="wait"))
            await asyncio.sleep(_ASK_INTERVAL)
    finally:
        if said:
            emit(Note(text="", level="wait"))


def _joined(busy: Sequence[BusyPod]) -> str:
    return "; ".join(map(str, busy))
