"""What a daemon keeps on its disk, and making it less.

Services DiskUsage and Prune of moby/buildkit api/services/control/control.proto; the sums are those of docker/buildx
commands/diskusage.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import field

import grpc

from kubectl_build.buildkit.client import BuildkitClient, RpcFailure
from kubectl_build.buildkit.liveness import watched
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import ConnectionLost, KubectlBuildError, UsageError
from kubectl_build.proto import control_pb2
from kubectl_build.values import dataclass

_LIMITS_SINCE = (0, 17)
"""The daemon that first knows maxUsedSpace and minFreeSpace; an older one would ignore them and delete more than was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRecord:
    """One entry of a daemon's cache. Times are seconds since the epoch; `last_used` is None for what was never used again.

    A `shared` entry has bytes in common with images or other users of the store; one `in_use` cannot be deleted now.
    """

    id: str
    parents: tuple[str, ...] = ()
    created: float = 0.0
    last_used: float | None = None
    mutable: bool = False
    in_use: bool = False
    shared: bool = False
    size: int = 0
    usage_count: int = 0
    description: str = ""
    type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageTotals:
    """Sums in bytes. `total` is `shared` plus `private`; `reclaimable` is what a prune of everything would free."""

    reclaimable: int = 0
    shared: int = 0
    private: int = 0
    total: int = 0

    @classmethod
    def of(cls, records: Iterable[UsageRecord]) -> UsageTotals:
        """Sum up; sizes that the daemon does not know (negative) count as nothing."""
        known = [record for record in records if record.size > 0]
        total = sum(record.size for record in known)
        shared = sum(record.size for record in known if record.shared)
        free = sum(record.size for record in known if not record.in_use)
        return cls(reclaimable=free, shared=shared, private=total - shared, total=total)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageFilter:
    """Which entries: `expression` in the daemon's grammar ("" for all), and only those not used for `unused_seconds`."""

    expression: str = ""
    unused_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneOrder:
    """What to delete. `everything` takes internal and frontend images too. Limits are bytes, 0 for none."""

    filter: UsageFilter = field(default_factory=UsageFilter)
    everything: bool = False
    reserved_space: int = 0
    max_used_space: int = 0
    min_free_space: int = 0


async def disk_usage(client: BuildkitClient, wanted: UsageFilter) -> tuple[UsageRecord, ...]:
    """List the entries that `wanted` names. Raises UsageError for a filter that the daemon refuses, ConnectionLost."""
    request = control_pb2.DiskUsageRequest(filter=_filters(wanted), ageLimit=int(wanted.unused_seconds * 1e9))
    try:
        async with watched(client):
            return tuple(map(_record, await client.disk_usage(request, deadline=deadlines().usage)))
    except RpcFailure as failure:
        raise _refused(failure, "listing the cache", wanted) from failure


async def prune(client: BuildkitClient, version: str, order: PruneOrder) -> tuple[UsageRecord, ...]:
    """Delete as `order` says and return what went. `version` is the daemon's.

    Raises UsageError for a filter that the daemon refuses and for limits that it does not know, ConnectionLost.
    """
    if (order.max_used_space or order.min_free_space) and _is_before(version, _LIMITS_SINCE):
        raise UsageError(
            f"buildkitd {version} does not know --max-used-space and --min-free-space: v0.17.0 is the first that does",
            hint="use --reserved-space, or give the builder a newer image",
        )
    request = control_pb2.PruneRequest(
        filter=_filters(order.filter),
        all=order.everything,
        keepDuration=int(order.filter.unused_seconds * 1e9),
        reservedSpace=order.reserved_space,
        maxUsedSpace=order.max_used_space,
        minFreeSpace=order.min_free_space,
    )
    try:
        async with watched(client):
            return tuple(map(_record, await client.prune(request, deadline=deadlines().prune)))
    except RpcFailure as failure:
        raise _refused(failure, "deleting from the cache", order.filter) from failure


def _filters(wanted: UsageFilter) -> list[str]:
    return [wanted.expression] if wanted.expression else []


def _refused(failure: RpcFailure, what: str, wanted: UsageFilter) -> KubectlBuildError:
    if failure.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ConnectionLost(f"{what} did not end in time")
    if wanted.expression and "filter" in failure.message:
        return UsageError(f'the builder does not understand the filter "{wanted.expression}": {failure.message}')
    return ConnectionLost(f"{what} failed in the builder: {failure.message or failure.code.name}")


def _is_before(version: str, bound: tuple[int, int]) -> bool:
    """Whether this is a released version before `bound`; what is built from a branch has no number, and counts as new."""
    numbers = re.match(r"v?(\d+)\.(\d+)\.", version)
    return numbers is not None and (int(numbers.group(1)), int(numbers.group(2))) < bound


def _record(record: control_pb2.UsageRecord) -> UsageRecord:
    return UsageRecord(
        id=record.ID,
        parents=tuple(record.Parents),
        created=record.CreatedAt.ToNanoseconds() / 1e9,
        last_used=record.LastUsedAt.ToNanoseconds() / 1e9 if record.HasField("LastUsedAt") else None,
        mutable=record.Mutable,
        in_use=record.InUse,
        shared=record.Shared,
        size=record.Size,
        usage_count=record.UsageCount,
        description=record.Description,
        type=record.RecordType,
    )
