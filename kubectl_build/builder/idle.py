"""The idle timeout of builders: recorded in the cluster, carried out by whatever command comes next.

When a pool was last used is written on its StatefulSet by clients that may, and is in its daemons' histories in any case.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta

from kubectl_build.builder import names
from kubectl_build.builder.state import Builder, PodInfo, Pool, last_used
from kubectl_build.builder.together import together
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import STATEFULSETS
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import Conflict, Forbidden, KubectlBuildError, NotFound
from kubectl_build.values import dataclass

_FIELD_MANAGER = "kubectl-build-use"
"""Another one than that of `create`, which would take the annotation over, and remove it the next time."""

_FRESH = timedelta(minutes=1)
"""A use that was recorded so recently is not recorded again: many builds begin at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodUse:
    """What a daemon says of its builds: how many run, and when the newest one it remembers began or ended."""

    active: int
    last: datetime | None = None


AskUse = Callable[[PodInfo], Awaitable[PodUse]]
"""Asks a pod's daemon. Raises KubectlBuildError when it cannot be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """A pool that was stopped since nobody has used it for longer than its builder's idle timeout."""

    namespace: str
    builder: str
    architecture: str
    since: datetime

    def __str__(self) -> str:
        return (
            f'pool {self.architecture} of builder "{self.builder}" in namespace "{self.namespace}" stopped: '
            f"not used since {self.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        )


async def record_use(client: KubeClient, pool: Pool, namespace: str) -> None:
    """Write on the pool that it is used now. Raises ApiError (Forbidden for most users), ApiUnreachable."""
    if was_just_used(pool):
        return
    patch = {"metadata": {"annotations": {names.ANNOTATION_LAST_USED: datetime.now(UTC).isoformat(timespec="seconds")}}}
    await client.patch(STATEFULSETS, pool.name, patch, namespace=namespace, field_manager=_FIELD_MANAGER)


def was_just_used(pool: Pool) -> bool:
    """Whether a use of the pool was recorded so recently that it need not be again."""
    return pool.last_used is not None and abs(datetime.now(UTC) - pool.last_used) < _FRESH


async def stop_idle(client: KubeClient, builders: Iterable[Builder], *, ask: AskUse) -> tuple[Stopped, ...]:
    """Scale to zero each pool of `builders`, as just read, that nobody has used for its builder's idle timeout; return which.

    Daemons are asked only where all else says idle; one that does not answer keeps its pool. Raises ApiError (Forbidden also
    where daemons may not be asked), ApiUnreachable.
    """
    now = client.server_time or datetime.now(UTC)
    idle = [(builder, pool) for builder in builders for pool in builder.pools if _seems_idle(builder, pool, now)]
    found = await together(*(_stop(client, builder, pool, now, ask) for builder, pool in idle))
    return tuple(stopped for stopped in found if stopped is not None)


def _seems_idle(builder: Builder, pool: Pool, now: datetime) -> bool:
    timeout = builder.spec.idle_seconds if builder.spec else None
    return bool(timeout and pool.replicas) and now - _known_use(builder, pool) > timedelta(seconds=timeout or 0)


def _known_use(builder: Builder, pool: Pool) -> datetime:
    """The latest of what the objects tell: a use, a pod's start, or at least when the builder was made."""
    times = [pool.last_used, builder.created_at, *(pod.started_at for pod in pool.pods)]
    return max(filter(None, times), default=datetime.min.replace(tzinfo=UTC))


async def _stop(client: KubeClient, builder: Builder, pool: Pool, now: datetime, ask: AskUse) -> Stopped | None:
    assert builder.spec is not None, "an idle timeout comes from a spec"
    since = _known_use(builder, pool)
    try:
        uses = await together(*(_use(pod, ask) for pod in pool.pods if pod.phase == "Running" and not pod.terminating))
    except Forbidden:
        raise  # else what is never stopped for want of a right would look as if it were in use
    except (KubectlBuildError, TimeoutError):
        return None
    since = max([since, *(use.last for use in uses if use.last is not None)])
    if any(use.active for use in uses) or now - since <= timedelta(seconds=builder.spec.idle_seconds or 0):
        return None
    try:
        present = await client.get(STATEFULSETS, pool.name, namespace=builder.namespace)
        if last_used(present) != pool.last_used:
            return None
        # With the version that was read: a build that says meanwhile that it uses the pool makes this a conflict.
        patch = {"metadata": {"resourceVersion": present["metadata"]["resourceVersion"]}, "spec": {"replicas": 0}}
        await client.patch(STATEFULSETS, pool.name, patch, namespace=builder.namespace)
    except (Conflict, NotFound):
        return None
    return Stopped(namespace=builder.namespace, builder=builder.name, architecture=pool.architecture, since=since)


async def _use(pod: PodInfo, ask: AskUse) -> PodUse:
    async with asyncio.timeout(deadlines().load):
        return await ask(pod)
