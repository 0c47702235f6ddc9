"""What a daemon remembers of its builds: listed, deleted, replayed, and read out for an archive.

Meaning of the fields: moby/buildkit api/services/control/control.proto (BuildHistoryRecord); names and states are those that
docker/buildx v0.35.0 shows (util/history BuildName, commands/history).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import field
from datetime import UTC, datetime
from enum import StrEnum

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from kubectl_build.buildkit.client import BuildkitClient, RpcFailure
from kubectl_build.buildkit.status import status_updates
from kubectl_build.errors import ClusterError, ConnectionLost
from kubectl_build.model.digest import Descriptor
from kubectl_build.model.events import StatusUpdate
from kubectl_build.proto import control_pb2
from kubectl_build.values import dataclass

RECENT = 50
"""How many records a daemon is asked for at most, as buildx asks."""

_PREDICATE, _SLSA = "in-toto.io/predicate-type", "https://slsa.dev/provenance/"
_FIRST, _LAST = -62_135_596_800, 253_402_300_799


class Outcome(StrEnum):
    """How a build stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    ERROR = "error"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRecord:
    """One build that a daemon remembers. Times are seconds since the epoch, by the daemon's clock; `completed` is None while it runs.

    `results` are the statements about each platform, by its name ("" for a lone result); `response` is what the exporters answered;
    `message` is the record as the daemon sent it.
    """

    ref: str
    outcome: Outcome
    created: float
    completed: float | None
    error: str = ""
    attrs: Mapping[str, str] = field(default_factory=dict)
    exporters: tuple[tuple[str, Mapping[str, str]], ...] = ()
    response: Mapping[str, str] = field(default_factory=dict)
    statements: Mapping[str, tuple[Descriptor, ...]] = field(default_factory=dict)
    total_steps: int = 0
    completed_steps: int = 0
    cached_steps: int = 0
    warnings: int = 0
    message: control_pb2.BuildHistoryRecord = field(repr=False, compare=False, default_factory=control_pb2.BuildHistoryRecord)

    @property
    def name(self) -> str:
        """What the build is called in lists: context, Dockerfile and target, as far as the daemon knows them; else the image's name."""
        return build_name(self.attrs) or next((attrs["name"] for _, attrs in self.exporters if attrs.get("name")), "")

    @property
    def repository(self) -> str:
        """Where the source comes from, "" when not known."""
        context = self.attrs.get("context", "")
        return self.attrs.get("vcs:source") or (context.partition("#")[0] if "://" in context else "")

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platforms that were asked for; none when the daemon's own was built."""
        return tuple(filter(None, self.attrs.get("platform", "").split(",")))

    def seconds(self, now: float) -> float:
        """How long it took, or has taken at `now`."""
        return max((now if self.completed is None else self.completed) - self.created, 0.0)


def build_name(attrs: Mapping[str, str]) -> str:
    """The name of a build by its frontend attributes (docker/buildx util/history, BuildName, without its local state)."""
    if said := attrs.get("build-arg:BUILDKIT_BUILD_NAME"):
        return said
    target = attrs.get("target", "")
    context = attrs.get("context") or attrs.get("vcs:localdir:context", ".")
    file = attrs.get("filename", "")
    folder = attrs.get("vcs:localdir:dockerfile", ".")
    path = "/".join(part for part in (folder if folder != "." else "", file if file != "Dockerfile" else "") if part)
    name = path.removesuffix("/Dockerfile").rpartition("/")[2]
    name = context if context != "." else name
    if target:
        return f"{name} ({target})" if name else target
    return name or attrs.get("vcs:source", "")


def read_record(message: control_pb2.BuildHistoryRecord) -> HistoryRecord:
    """A daemon's record as a value."""
    done = message.HasField("CompletedAt")
    error = message.error.message if message.HasField("error") else ""
    outcome = Outcome.COMPLETED if done else Outcome.RUNNING
    if done and message.HasField("error"):
        canceled = message.error.code == grpc.StatusCode.CANCELLED.value[0] or "context canceled" in error
        outcome = Outcome.CANCELED if canceled else Outcome.ERROR
    results = dict(message.Results) or ({"": message.Result} if message.HasField("Result") else {})
    return HistoryRecord(
        ref=message.Ref,
        outcome=outcome,
        created=_seconds(message.CreatedAt),
        completed=_seconds(message.CompletedAt) if done else None,
        error=error,
        attrs=dict(message.FrontendAttrs),
        exporters=tuple((exporter.Type, dict(exporter.Attrs)) for exporter in message.Exporters),
        response=dict(message.ExporterResponse),
        statements={platform: tuple(map(descriptor, result.Attestations)) for platform, result in sorted(results.items())},
        total_steps=message.numTotalSteps,
        completed_steps=message.numCompletedSteps,
        cached_steps=message.numCachedSteps,
        warnings=message.numWarnings,
        message=message,
    )


def descriptor(message: control_pb2.Descriptor) -> Descriptor:
    """A record's reference to a blob as a value."""
    return Descriptor(media_type=message.media_type, digest=message.digest, size=message.size, annotations=dict(message.annotations))


def blobs(message: control_pb2.BuildHistoryRecord) -> Iterator[control_pb2.Descriptor]:
    """Every blob that a record points to, each once, but its trace: log, statements, results, the full error."""
    seen: set[str] = set()
    results = [*([message.Result] if message.HasField("Result") else []), *(message.Results[key] for key in sorted(message.Results))]
    found = [*([message.logs] if message.HasField("logs") else [])]
    found += [item for result in results for item in (*result.Attestations, *(result.Results[key] for key in sorted(result.Results)))]
    found += [message.externalError] if message.HasField("externalError") else []
    for item in found:
        if item.digest not in seen:
            seen.add(item.digest)
            yield item


def image_tops(record: HistoryRecord) -> list[Descriptor]:
    """The images and indexes that a build made, as far as the daemon keeps them."""
    message = record.message
    results = [*([message.Result] if message.HasField("Result") else []), *(message.Results[key] for key in sorted(message.Results))]
    found = {item.digest: item for result in results for _, item in sorted(result.Results.items())}
    return [descriptor(item) for item in found.values()]


def provenance_of(record: HistoryRecord) -> dict[str, str]:
    """The digests of the statements that tell how each platform was built."""
    found: dict[str, str] = {}
    for platform, statements in record.statements.items():
        for item in statements:
            if item.annotations.get(_PREDICATE, "").startswith(_SLSA):
                found.setdefault(platform, item.digest)
    return found


async def list_records(client: BuildkitClient, *, ref: str = "", active_only: bool = False, limit: int = RECENT) -> list[HistoryRecord]:
    """The builds that a daemon remembers, newest first; with `ref` those whose ref is that one. Raises ConnectionLost."""
    request = control_pb2.BuildHistoryRequest(ActiveOnly=active_only, EarlyExit=True, Ref=ref, Limit=limit)
    try:
        messages = await client.history_records(request)
    except RpcFailure as failure:
        raise ConnectionLost(f"the builder does not list its builds: {failure.message}") from failure
    return sorted(map(read_record, messages), key=lambda record: -record.created)


async def delete_record(client: BuildkitClient, ref: str) -> None:
    """Forget a build. What its result holds in the cache goes with the next garbage collection. Raises ClusterError."""
    try:
        await client.update_history(control_pb2.UpdateBuildHistoryRequest(Ref=ref, Delete=True))
    except RpcFailure as failure:
        raise ClusterError(f"build {ref} was not deleted: {failure.message}") from failure


async def replay(client: BuildkitClient, ref: str, *, pool: str = "") -> AsyncGenerator[StatusUpdate, None]:
    """What happened in a build, told again; of one that runs, until it ends. Close with aclosing. Raises ConnectionLost."""
    try:
        async with aclosing(status_updates(client.status(ref), pool=pool)) as updates:
            async for update in updates:
                yield update
    except RpcFailure as failure:
        raise ConnectionLost(f"the builder does not tell of build {ref}: {failure.message}") from failure


def iso_time(seconds: float) -> str:
    """A time for programs, RFC 3339; "" for what is no time."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):  # a daemon may say any number
        return ""


def _seconds(time: Timestamp) -> float:
    return time.seconds + time.nanos / 1e9 if _FIRST <= time.seconds <= _LAST else 0.0
