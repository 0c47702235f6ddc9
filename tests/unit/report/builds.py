"""A made-up build for reports. Times are seconds after `T0`."""

from __future__ import annotations

from kubectl_build.model.events import Note, Placed, StatusUpdate, Vertex, VertexLog, VertexStatus
from kubectl_build.model.observed import BuildSources, ImageLayer, PoolBegun, PoolMade, SourceFile, StepOrigin
from kubectl_build.report.collect import Collector
from kubectl_build.report.facts import BuildFacts

T0 = 1_700_000_000.0

DOCKERFILE = """FROM busybox AS build
COPY . /src
RUN make \\
    all
FROM busybox
COPY --from=build /out /out
"""


def at(seconds: float) -> float:
    return T0 + seconds


def ran(
    digest: str,
    name: str,
    start: float,
    stop: float | None,
    *,
    inputs: tuple[str, ...] = (),
    cached: bool = False,
    error: str = "",
    pool: str = "",
) -> StatusUpdate:
    """A step that ran from `start` to `stop`."""
    ended = None if stop is None else at(stop)
    vertex = Vertex(digest=digest, name=name, inputs=inputs, cached=cached, started=at(start), completed=ended, error=error)
    return StatusUpdate(pool=pool, vertexes=(vertex,))


def said(digest: str, data: bytes, *, pool: str = "") -> StatusUpdate:
    return StatusUpdate(pool=pool, logs=(VertexLog(vertex=digest, data=data, timestamp=at(0)),))


def sent(digest: str, what: str, size: int, start: float, stop: float, *, pool: str = "") -> StatusUpdate:
    status = VertexStatus(
        vertex=digest, id=f"transferring {what}:", name="transferring", current=size, started=at(start), completed=at(stop)
    )
    return StatusUpdate(pool=pool, statuses=(status,))


def begun(pool: str = "amd64", *, label: str = "", steps: dict[str, StepOrigin] | None = None, text: str = DOCKERFILE) -> PoolBegun:
    sources = BuildSources(files=(SourceFile(name="Dockerfile", text=text),), steps=steps or {})
    return PoolBegun(
        pool=pool,
        label=label,
        pod=f"buildkit-{pool}-0",
        node=f"node-{pool}",
        version="v0.31.2",
        platforms=(f"linux/{pool}",),
        sources=sources,
    )


def whole_build() -> Collector:
    """A build for amd64 with an emulated step for arm64, a cached one, and a context."""
    collector = Collector(live=False)
    for platform, mode in (("linux/amd64", "native"), ("linux/arm64", "QEMU")):
        collector.event(Placed(platform=platform, mode=mode, pool="amd64", why="because"), T0)
    collector.event(Note(text="a note"), T0)
    both = ("linux/amd64", "linux/arm64")
    steps = {
        "from": StepOrigin(spans=((0, 1, 1), (0, 5, 5)), platforms=both),
        "copy": StepOrigin(spans=((0, 2, 2),), platforms=both),
        "make": StepOrigin(spans=((0, 3, 3), (0, 4, 4)), platforms=("linux/amd64",), runs_on="linux/amd64"),
        "emulated": StepOrigin(spans=((0, 3, 3), (0, 4, 4)), platforms=("linux/arm64",), runs_on="linux/arm64"),
    }
    collector.observe(begun(steps=steps))
    collector.event(ran("def", "[internal] load build definition from Dockerfile", 0.0, 0.5), T0)
    collector.event(ran("context", "[internal] load build context", 0.5, 2.5), T0)
    collector.event(sent("context", "context", 4_000_000, 0.5, 2.5), T0)
    collector.event(ran("from", "[build 1/3] FROM busybox", 0.5, 0.6, cached=True), T0)
    collector.event(ran("copy", "[build 2/3] COPY . /src", 2.5, 3.0, inputs=("from", "context")), T0)
    collector.event(ran("make", "[linux/amd64 build 3/3] RUN make all", 3.0, 8.0, inputs=("copy",)), T0)
    collector.event(said("make", b"compiling\n\x1b[31mred\x1b[0m\nprogress 1%\rprogress 99%\nlast"), T0)
    collector.event(ran("emulated", "[linux/arm64 build 3/3] RUN make all", 3.0, 43.0, inputs=("copy",)), T0)
    collector.event(ran("export", "exporting to image", 43.0, 44.0), T0)
    layers = (ImageLayer(digest="sha256:aa", size=1_000_000, made_by="ADD base"), ImageLayer(digest="sha256:bb", size=500, made_by="COPY"))
    collector.observe(PoolMade(pool="amd64", ref="r", images={"linux/amd64": layers}))
    return collector


def large_build(count: int) -> BuildFacts:
    """A build of so many steps, each after the one before, in two pools."""
    collector = Collector(live=False)
    for label in ("amd64", "arm64"):
        collector.observe(begun(label, label=label))
    for number in range(count):
        pool = ("amd64", "arm64")[number % 2]
        name = f"[stage {number}/{count}] RUN step number {number}"
        inputs = (f"d{number - 2}",) if number > 1 else ()
        collector.event(ran(f"d{number}", name, number * 0.01, number * 0.01 + 0.02, inputs=inputs, pool=pool, cached=number % 3 == 0), T0)
        collector.event(said(f"d{number}", b"output of %d\n" % number, pool=pool), T0)
    return collector.facts()
