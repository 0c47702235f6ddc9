"""Progress for programs: one JSON object a line, as `docker buildx build --progress=rawjson` writes it.

The object is Go's SolveStatus (moby/buildkit client/graph.go, v0.31.2): absent when empty, bytes in base64, times in RFC 3339. It knows
one daemon and no notes, so digests of several pools are made distinct, and notes become the log and the warnings of a step of our own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Collection
from datetime import UTC, datetime

from kubectl_build.model.events import BuildEvent, Note, StatusUpdate, Vertex, VertexLog, VertexStatus, VertexWarning
from kubectl_build.model.json import JsonObject
from kubectl_build.progress.names import with_prefix

_NOTES = "sha256:" + hashlib.sha256(b"kubectl-build notes").hexdigest()
_CONTROL = re.compile("[\x7f-\x9f]")
"""Control characters that JSON lets stand as they are, and terminals do not."""
_NOTES_NAME = "[internal] kubectl build"


class RawJsonView:
    """Turns events into lines of JSON. Pure: times are told."""

    redraws = False

    def __init__(self) -> None:
        self._lines: list[JsonObject] = []
        self._notes_since: float | None = None

    def apply(self, event: BuildEvent, now: float) -> None:
        """Takes over an event."""
        if isinstance(event, StatusUpdate):
            self._lines.append(_status(event, now))
        elif isinstance(event, Note) and event.text:
            self._note(event, now)

    def refresh(self, now: float) -> str:
        """The lines since the last call."""
        text = "".join(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n" for line in self._lines)
        self._lines.clear()
        return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)

    def finish(self, now: float) -> str:
        """The last lines."""
        if self._notes_since is not None:
            self._lines.append({"vertexes": [self._notes_vertex(completed=now)]})
        return self.refresh(now)

    def _note(self, note: Note, now: float) -> None:
        line: JsonObject = {}
        if self._notes_since is None:
            self._notes_since = now
            line["vertexes"] = [self._notes_vertex(completed=None)]
        if note.level == "warning":
            line["warnings"] = [{"vertex": _NOTES, "level": 1, "short": _bytes(note.text.encode())}]
        else:
            line["logs"] = [_log("", VertexLog(vertex=_NOTES, data=f"{note.text}\n".encode(), stream=2), now)]
        self._lines.append(line)

    def _notes_vertex(self, *, completed: float | None) -> JsonObject:
        return _vertex("", Vertex(digest=_NOTES, name=_NOTES_NAME, started=self._notes_since, completed=completed))


def _status(update: StatusUpdate, now: float) -> JsonObject:
    pool = update.pool
    return _without_empty(
        {
            "vertexes": [_vertex(pool, vertex) for vertex in update.vertexes],
            "statuses": [_vertex_status(pool, status, now) for status in update.statuses],
            "logs": [_log(pool, log, now) for log in update.logs],
            "warnings": [warning_document(warning, pool=pool) for warning in update.warnings],
        }
    )


def _vertex(pool: str, vertex: Vertex) -> JsonObject:
    group = vertex.group
    return _without_empty(
        {
            "digest": _digest(pool, vertex.digest),
            "inputs": [_digest(pool, digest) for digest in vertex.inputs],
            "name": with_prefix(pool, vertex.name),
            "started": _time(vertex.started),
            "completed": _time(vertex.completed),
            "cached": vertex.cached,
            "error": vertex.error,
            "progressGroup": group
            and _without_empty({"id": f"{pool}{group.id}", "name": with_prefix(pool, group.name), "weak": group.weak}),
        }
    )


def _vertex_status(pool: str, status: VertexStatus, now: float) -> JsonObject:
    return _without_empty(
        {
            "id": status.id,
            "vertex": _digest(pool, status.vertex),
            "name": status.name,
            "total": status.total,
            "current": status.current,
            "timestamp": _time(now if status.timestamp is None else status.timestamp),
            "started": _time(status.started),
            "completed": _time(status.completed),
        },
        keep=("id", "current"),
    )


def _log(pool: str, log: VertexLog, now: float) -> JsonObject:
    return _without_empty(
        {
            "vertex": _digest(pool, log.vertex),
            "stream": log.stream,
            "data": _bytes(log.data),
            "timestamp": _time(now if log.timestamp is None else log.timestamp),
        },
        keep=("data",),
    )


def warning_document(warning: VertexWarning, *, pool: str = "") -> JsonObject:
    """A warning as Go's client.VertexWarning is written in JSON, without the source's LLB."""
    source = _without_empty({"filename": warning.filename, "data": _bytes(warning.data), "language": warning.language})
    return _without_empty(
        {
            "vertex": _digest(pool, warning.vertex),
            "level": warning.level,
            "short": _bytes(warning.short.encode()),
            "detail": [_bytes(detail.encode()) for detail in warning.detail],
            "url": warning.url,
            "sourceInfo": source,
            "range": [{"start": _position(first), "end": _position(last)} for first, last in warning.lines],
        }
    )


def _position(line: int) -> JsonObject:
    return _without_empty({"line": line})


def _without_empty(fields: JsonObject, *, keep: Collection[str] = ()) -> JsonObject:
    """Leaves out what Go's `omitempty` does: null, false, zero, an empty string or list."""
    return {name: value for name, value in fields.items() if value or name in keep}


def _digest(pool: str, digest: str) -> str:
    return "sha256:" + hashlib.sha256(f"{pool} {digest}".encode()).hexdigest() if pool else digest


def _bytes(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
