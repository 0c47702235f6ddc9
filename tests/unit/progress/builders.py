"""Short forms for the events of a made-up build. Times are seconds after `T0`."""

from __future__ import annotations

from kubectl_build.model.events import StatusUpdate, Vertex, VertexGroup, VertexLog, VertexStatus, VertexWarning

T0 = 1_700_000_000.0


def at(seconds: float | None) -> float | None:
    return None if seconds is None else T0 + seconds


def vertex(
    digest: str,
    name: str = "",
    *,
    started: float | None = None,
    completed: float | None = None,
    cached: bool = False,
    error: str = "",
    group: VertexGroup | None = None,
    pool: str = "",
) -> StatusUpdate:
    step = Vertex(digest=digest, name=name or digest, started=at(started), completed=at(completed), cached=cached, error=error, group=group)
    return StatusUpdate(pool=pool, vertexes=(step,))


def status(
    digest: str,
    id: str,
    *,
    current: int = 0,
    total: int = 0,
    started: float | None = 0.0,
    now: float = 0.0,
    completed: float | None = None,
    pool: str = "",
) -> StatusUpdate:
    part = VertexStatus(
        vertex=digest, id=id, name=id, current=current, total=total, timestamp=at(now), started=at(started), completed=at(completed)
    )
    return StatusUpdate(pool=pool, statuses=(part,))


def log(digest: str, data: bytes, *, now: float = 0.0, pool: str = "") -> StatusUpdate:
    return StatusUpdate(pool=pool, logs=(VertexLog(vertex=digest, data=data, timestamp=at(now)),))


def warning(digest: str, short: str, *, pool: str = "", detail: str = "", url: str = "", data: bytes = b"", line: int = 0) -> StatusUpdate:
    details, lines = (detail,) if detail else (), ((line, line),) if line else ()
    warned = VertexWarning(vertex=digest, level=1, short=short, detail=details, url=url, filename="Dockerfile", data=data, lines=lines)
    return StatusUpdate(pool=pool, warnings=(warned,))
