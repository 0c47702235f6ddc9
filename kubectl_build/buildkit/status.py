"""The daemon's status messages as events (pure).

Shape and meaning follow moby/buildkit client/graph.go and client/status.go.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from kubectl_build.errors import ProtocolError
from kubectl_build.model.events import StatusUpdate, Vertex, VertexGroup, VertexLog, VertexStatus, VertexWarning
from kubectl_build.proto import control_pb2

_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
"""Of the years 1 to 9999: all that a protobuf Timestamp can be. What is outside counts as not said."""

_KEPT = 128 << 20
_STEP, _PART = 3000, 600
"""Bytes that a step, and a part of one, cost besides their texts. Some 40,000 steps are the most then."""


class Ledger:
    """Counts what displays have to keep of one build, so that no daemon can fill this machine's memory with it. Output is not counted:
    it is written and forgotten."""

    def __init__(self) -> None:
        self._sizes: dict[str | tuple[str, str], int] = {}
        self._total = 0

    def add(self, update: StatusUpdate) -> None:
        """Count an update. What is said again of a step or part replaces what was said before. Raises ProtocolError."""
        for vertex in update.vertexes:
            self._count(vertex.digest, _STEP + len(vertex.name) + len(vertex.error) + sum(map(len, vertex.inputs)))
        for part in update.statuses:
            self._count((part.vertex, part.id), _PART + 2 * len(part.id) + len(part.name))
        for warning in update.warnings:
            self._total += _PART + len(warning.short) + sum(map(len, warning.detail)) + len(warning.data)
        if self._total > _KEPT:
            raise ProtocolError(f"the builder tells of more steps than can be: {_KEPT >> 20} MiB")

    def _count(self, key: str | tuple[str, str], size: int) -> None:
        self._total += size - self._sizes.get(key, 0)
        self._sizes[key] = size


async def status_updates(
    messages: AsyncGenerator[control_pb2.StatusResponse, None], *, pool: str = ""
) -> AsyncGenerator[StatusUpdate, None]:
    """Translate a build's messages, which it closes, as they come. Close with aclosing. Raises ProtocolError for too many steps."""
    ledger = Ledger()
    async with aclosing(messages):
        async for message in messages:
            update = status_update(message, pool=pool)
            ledger.add(update)
            yield update


def status_update(message: control_pb2.StatusResponse, *, pool: str = "") -> StatusUpdate:
    """Translate one StatusResponse; `pool` marks where it came from."""
    return StatusUpdate(
        pool=pool,
        vertexes=tuple(
            Vertex(
                digest=v.digest,
                name=v.name,
                inputs=tuple(v.inputs),
                cached=v.cached,
                started=_seconds(v, "started"),
                completed=_seconds(v, "completed"),
                error=v.error,
                group=VertexGroup(id=v.progressGroup.id, name=v.progressGroup.name, weak=v.progressGroup.weak)
                if v.HasField("progressGroup")
                else None,
            )
            for v in message.vertexes
        ),
        statuses=tuple(
            VertexStatus(
                vertex=s.vertex,
                id=s.ID,
                name=s.name,
                current=s.current,
                total=s.total,
                timestamp=_seconds(s, "timestamp"),
                started=_seconds(s, "started"),
                completed=_seconds(s, "completed"),
            )
            for s in message.statuses
        ),
        logs=tuple(VertexLog(vertex=e.vertex, data=e.msg, stream=e.stream, timestamp=_seconds(e, "timestamp")) for e in message.logs),
        warnings=tuple(_warning(w) for w in message.warnings),
    )


def _seconds(message: Any, name: str) -> float | None:
    if not message.HasField(name):
        return None
    stamp = getattr(message, name)
    if not _FIRST_SECOND <= stamp.seconds < _LAST_SECOND or not 0 <= stamp.nanos < 10**9:
        return None
    return float(stamp.seconds) + float(stamp.nanos) / 1e9


def _warning(warning: control_pb2.VertexWarning) -> VertexWarning:
    return VertexWarning(
        vertex=warning.vertex,
        level=warning.level,
        short=warning.short.decode("utf-8", "replace"),
        detail=tuple(d.decode("utf-8", "replace") for d in warning.detail),
        url=warning.url,
        filename=warning.info.filename,
        language=warning.info.language,
        data=warning.info.data,
        lines=tuple((r.start.line, r.end.line) for r in warning.ranges),
    )
