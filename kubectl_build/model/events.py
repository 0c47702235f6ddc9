"""What happens during a build, as values: the one stream that flows from the solves up to the progress displays.

Vertices, statuses, logs and warnings are BuildKit's (moby/buildkit client/graph.go). Times are seconds since the epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import field
from typing import Literal

from kubectl_build.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexGroup:
    """Vertices with the same group id are shown as one step named `name`; a group of only `weak` members stays hidden."""

    id: str
    name: str
    weak: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Vertex:
    """One step as last reported; sent again whenever it changes. `error` is "" unless it failed."""

    digest: str
    name: str
    inputs: tuple[str, ...] = ()
    cached: bool = False
    started: float | None = None
    completed: float | None = None
    error: str = ""
    group: VertexGroup | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexStatus:
    """Progress inside a step, for example one layer or the context's bytes. `total` is 0 when not known, `timestamp` when it was told."""

    vertex: str
    id: str
    name: str
    current: int = 0
    total: int = 0
    timestamp: float | None = None
    started: float | None = None
    completed: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexLog:
    """Output of a step. `stream` is 1 for stdout, 2 for stderr; `data` is cut anywhere."""

    vertex: str
    data: bytes
    stream: int = 1
    timestamp: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexWarning:
    """A frontend's warning. `lines` are the first and last line, from 1, of each place in the file whose bytes are `data`; none when it
    points nowhere. `language` is what the frontend says that the file is written in."""

    vertex: str
    level: int
    short: str
    detail: tuple[str, ...] = ()
    url: str = ""
    filename: str = ""
    language: str = ""
    data: bytes = field(default=b"", repr=False)
    lines: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusUpdate:
    """One message of a solve's status stream. `pool` names the pool ("amd64", "arm64") when several build, else is ""."""

    pool: str = ""
    vertexes: tuple[Vertex, ...] = ()
    statuses: tuple[VertexStatus, ...] = ()
    logs: tuple[VertexLog, ...] = ()
    warnings: tuple[VertexWarning, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Lines for the user: the plan, why a pod is not ready, a fallback taken.

    `wait` lines describe what is waited for just now: the newest one of a `pool` ("" for none in particular) replaces the one before,
    and it is over when that pool's next status comes, or with an empty text. `plan` is the plan as a table: what each `Placed` tells too.
    """

    text: str
    level: Literal["info", "warning", "wait", "plan"] = "info"
    pool: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The plan for one platform ("linux/arm64"), told before its steps: the pool that builds it, how ("native", "cross", "QEMU"), why."""

    platform: str
    mode: str
    pool: str
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """The daemon that builds for a pool, told before its solve: its pod's name or its address, and the node if that is known."""

    pool: str
    name: str
    node: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """How much of the client's directory `name` ("context") a pool's daemon will have had in the end, at most: BuildKit tells only what it
    has. Bytes as it counts them; 0 when that is not known, or not any more."""

    name: str
    expected: int
    pool: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of the command's own work that has ended ("builder", "plan"); `pool` where each pool has its own."""

    name: str
    began: float
    ended: float
    pool: str = ""


BuildEvent = StatusUpdate | Note | Placed | Reached | Sending | Phase

Sink = Callable[[BuildEvent], None]
"""Takes events as they happen. Never blocks and never raises."""


@contextmanager
def timed(emit: Sink, name: str, pool: str = "") -> Iterator[None]:
    """Tell the body as a Phase, also when it fails."""
    began = time.time()
    try:
        yield
    finally:
        emit(Phase(name=name, began=began, ended=time.time(), pool=pool))


def told_once(emit: Sink) -> Sink:
    """A sink for `emit` that drops notes already given: what looks at the cluster again would say them again. Waits are no such notes."""
    told: set[str] = set()

    def once(event: BuildEvent) -> None:
        if isinstance(event, Note) and event.level != "wait":
            if event.text in told:
                return
            told.add(event.text)
        emit(event)

    return once
