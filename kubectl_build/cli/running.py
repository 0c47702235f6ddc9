"""The builds that run just now: what daemons say of them joined with what Leases say of who builds (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kubectl_build.builder.leases import Lease
from kubectl_build.buildkit.histories import HistoryRecord, iso_time
from kubectl_build.cli.tables import table
from kubectl_build.model.json import JsonObject
from kubectl_build.progress.escape import clean_line
from kubectl_build.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningBuild:
    """One build on one pod. `ref` is "" while the daemon does not know it yet: the client loads, plans, or waits.

    `holder` is "" where no Lease tells. `since` is in seconds since the epoch, None where neither side says.
    """

    namespace: str
    builder: str
    pod: str
    node: str
    platforms: str
    holder: str = ""
    context: str = ""
    since: float | None = None
    ref: str = ""
    steps: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodBuilds:
    """What is known of one pod: the builds of its daemon, None when it did not answer, and the Leases that name it."""

    namespace: str
    builder: str
    pod: str
    node: str
    architecture: str
    records: Sequence[HistoryRecord] | None
    leases: Sequence[Lease]


def running_builds(pod: PodBuilds) -> list[RunningBuild]:
    """The builds of one pod, the longest first. A daemon does not know who asks it, so that a build and a Lease belong together when their
    platforms are the same, in the order of their begin."""
    leases = sorted(pod.leases, key=lambda lease: lease.since.timestamp() if lease.since else 0.0)
    found = []
    for record in sorted(pod.records or (), key=lambda record: record.created):
        lease = _lease_of(record, leases, pod.architecture)
        if lease is not None:
            leases.remove(lease)
        found.append(_build(pod, record, lease))
    return found + [_build(pod, None, lease) for lease in leases]


def _lease_of(record: HistoryRecord, leases: Sequence[Lease], architecture: str) -> Lease | None:
    platforms = set(record.platforms) or {f"linux/{architecture}"}
    return next((lease for lease in leases if set(lease.platforms.split(",")) == platforms), None)


def _build(pod: PodBuilds, record: HistoryRecord | None, lease: Lease | None) -> RunningBuild:
    since = record.created if record else lease.since.timestamp() if lease and lease.since else None
    return RunningBuild(
        namespace=pod.namespace,
        builder=pod.builder,
        pod=pod.pod,
        node=pod.node,
        platforms=lease.platforms if lease else ",".join(record.platforms if record else ()) or f"linux/{pod.architecture}",
        holder=lease.holder if lease else "",
        context=(lease.context if lease else "") or (record.name if record else ""),
        since=since,
        ref=record.ref if record else "",
        steps=f"{record.completed_steps}/{record.total_steps}" if record and record.total_steps else "",
    )


def running_table(builds: Iterable[RunningBuild], now: float, *, namespaces: bool, wide: bool = False) -> str:
    """A line for each build. `wide` adds its node and how many of its steps are done."""
    header = [
        *(["NAMESPACE"] if namespaces else []),
        "BUILDER",
        "POD",
        "PLATFORMS",
        "WHO",
        "CONTEXT",
        "SINCE",
        "BUILD ID",
        *(["NODE", "STEPS"] if wide else []),
    ]
    rows = [
        [
            *([build.namespace] if namespaces else []),
            build.builder,
            build.pod,
            clean_line(build.platforms),
            clean_line(build.holder),
            clean_line(build.context),
            "" if build.since is None else _age(now - build.since),
            clean_line(build.ref),
            *([build.node, build.steps] if wide else []),
        ]
        for build in builds
    ]
    return table(header, rows)


def running_document(builds: Iterable[RunningBuild]) -> JsonObject:
    """All that is known, for programs."""
    return {
        "builds": [
            {
                "namespace": build.namespace,
                "builder": build.builder,
                "pod": build.pod,
                "node": build.node,
                "platforms": [name for name in build.platforms.split(",") if name],
                "holder": build.holder or None,
                "context": build.context,
                "since": None if build.since is None else iso_time(build.since),
                "ref": build.ref or None,
            }
            for build in builds
        ]
    }


def _age(seconds: float) -> str:
    whole = max(int(seconds), 0)
    return f"{whole}s" if whole < 120 else f"{whole // 60}m{whole % 60}s" if whole < 3600 else f"{whole // 3600}h{whole // 60 % 60}m"
