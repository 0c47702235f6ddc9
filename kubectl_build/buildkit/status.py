"""The daemon's status messages as events (pure).

Shape and meaning follow moby/buildkit client/graph.go and client/status.go.
"""

from __future__ import annotations

from typing import Any

from kubectl_build.model.events import StatusUpdate, Vertex, VertexGroup, VertexLog, VertexStatus, VertexWarning
from kubectl_build.proto import control_pb2


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
