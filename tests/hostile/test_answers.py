"""What a daemon answers on the Control API: lies, bytes that are no message, progress that is no progress."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from typing import Any

import grpc
import pytest

from kubectl_build.proto import control_pb2, gateway_pb2, pb_pb2, status_pb2, worker_pb2
from tests.hostile.client import build
from tests.hostile.conftest import Place
from tests.hostile.daemon import Answer, Daemon, Failure, serve

_NO_MESSAGE = b"\xff\xff\xff\xff"
_DIGEST = "sha256:" + "0" * 64
_ESCAPES = "\x1b]0;title\x07\x1b[2J\x1b[6n\x9b2J\r\x08\x00 text"
_OVER = 17 << 20


async def test_daemon_that_answers_well_is_believed(place: Place) -> None:
    async with serve(Daemon(), place.socket) as address:
        outcome = await build(address, place.context, ".", "--progress=plain")

    assert outcome.civil().code == 0, outcome


_BROKEN: dict[str, Daemon] = {
    "info is no message": Daemon(info=_NO_MESSAGE),
    "info is too long": Daemon(info=b"\x1a" + bytes(_OVER)),
    "workers are no message": Daemon(workers=_NO_MESSAGE),
    "there are no workers": Daemon(workers=control_pb2.ListWorkersResponse()),
    "a worker has no platform": Daemon(workers=control_pb2.ListWorkersResponse(record=[worker_pb2.WorkerRecord(ID="x")])),
    "pong is no message": Daemon(pong=_NO_MESSAGE),
    "result is no message": Daemon(result=_NO_MESSAGE),
    "result is too long": Daemon(result=bytes(_OVER)),
    "outcome is no message": Daemon(outcome=_NO_MESSAGE),
}


@pytest.mark.parametrize("daemon", _BROKEN.values(), ids=_BROKEN.keys())
async def test_answer_that_cannot_be_read_ends_the_build_in_words(place: Place, daemon: Daemon) -> None:
    async with serve(daemon, place.socket) as address:
        outcome = await build(address, place.context, ".", "--progress=plain")

    assert outcome.civil().code == 5, outcome


def _llb(*ops: bytes, **other: Any) -> gateway_pb2.SolveResponse:
    definition = pb_pb2.Definition(**other)
    getattr(definition, "def").extend(ops)
    ref = gateway_pb2.Ref(id="x")
    getattr(ref, "def").CopyFrom(definition)
    return gateway_pb2.SolveResponse(result=gateway_pb2.Result(ref=ref))


def _refs(platforms: Any, *names: str) -> gateway_pb2.SolveResponse:
    result = gateway_pb2.Result()
    for name in names:
        result.refs.refs[name].id = name
    if platforms is not None:
        result.metadata["refs.platforms"] = platforms if isinstance(platforms, bytes) else json.dumps(platforms).encode()
    return gateway_pb2.SolveResponse(result=result)


def _exec(arguments: str, architecture: str = "") -> bytes:
    op = pb_pb2.Op(exec=pb_pb2.ExecOp(meta=pb_pb2.Meta(args=[arguments])))
    if architecture:
        op.platform.CopyFrom(pb_pb2.Platform(OS="linux", Architecture=architecture))
    return op.SerializeToString()


_PLATFORM = {"os": "linux", "architecture": "amd64"}
_RESULTS: dict[str, Answer] = {
    "nothing at all": gateway_pb2.SolveResponse(),
    "an op that is no message": _llb(_NO_MESSAGE, b""),
    "an op of no kind": _llb(b"", b""),
    "escapes in a command": _llb(_exec(_ESCAPES, "mips"), b""),
    "an architecture of a megabyte": _llb(_exec("x", "a" * (1 << 20)), b""),
    "a bomb of ops": _llb(*[_exec("x")] * 500_000, b""),
    "refs for nothing": _refs(None),
    "refs with a name that is no platform": _refs(None, _ESCAPES),
    "platforms that are no JSON": _refs(b"{", "linux/amd64"),
    "platforms nested deep": _refs(b"[" * 200_000, "linux/amd64"),
    "platforms that are no objects": _refs({"Platforms": [1, None, "x"]}, "linux/amd64"),
    "platforms with numbers": _refs({"Platforms": [{"ID": 1, "Platform": {"os": 1, "architecture": []}}]}, "linux/amd64"),
    "an ID that is a list": _refs({"Platforms": [{"ID": [], "Platform": _PLATFORM}]}, "linux/amd64"),
    "half a character": _refs(b'{"Platforms":[{"ID":"\\ud800","Platform":{"os":"linux","architecture":"\\ud800"}}]}', "linux/amd64"),
}


@pytest.mark.parametrize("result", _RESULTS.values(), ids=_RESULTS.keys())
async def test_frontend_that_lies_is_answered_in_words(place: Place, result: Answer) -> None:
    async with serve(Daemon(result=result), place.socket) as address:
        outcome = await build(address, place.context, ".", "--platform=linux/amd64,linux/arm64")

    assert outcome.civil().code in (2, 5), outcome


def _encoded(value: Any) -> str:
    return base64.b64encode(value if isinstance(value, bytes) else json.dumps(value).encode()).decode()


def _status(*details: tuple[str, Any], code: int = 2) -> bytes:
    status = status_pb2.Status(code=code, message="it failed")
    for kind, value in details:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        status.details.add(type_url=f"github.com/moby/buildkit/errdefs.{kind}+json", value=data)
    return status.SerializeToString()


_FAILURES: dict[str, bytes] = {
    "no details": b"",
    "details that are no message": _NO_MESSAGE,
    "a digest that is a list": _status(("Vertex", {"digest": []})),
    "an exit code that is none": _status(("ExitMessage", {"exit_code": "x"})),
    "an exit code that is infinite": _status(("ExitMessage", b'{"exit_code": 1e999}')),
    "a source that is none": _status(("Source", {"info": 1, "ranges": 1})),
    "a source that is not base64": _status(("Source", {"info": {"data": "%"}, "ranges": [{"start": {"line": 1}}]})),
    "a source from far away": _status(("Source", {"info": {"data": "eA=="}, "ranges": [{"start": {"line": -1}, "end": {"line": 1e300}}]})),
    "a subrequest that is a number": _status(("Subrequest", {"name": 1})),
    "nested deep": _status(("Source", b"[" * 5000)),
    "escapes": _status(
        (
            "Source",
            {"info": {"filename": _ESCAPES, "data": base64.b64encode(_ESCAPES.encode()).decode()}, "ranges": [{"start": {"line": 1}}]},
        )
    ),
}


@pytest.mark.parametrize("details", _FAILURES.values(), ids=_FAILURES.keys())
@pytest.mark.parametrize("where", ["frontend", "solve"])
async def test_failure_with_odd_details_is_told_without_harm(place: Place, details: bytes, where: str) -> None:
    failure = Failure(grpc.StatusCode.UNKNOWN, f"it failed {_ESCAPES!a}", details)
    daemon = Daemon(result=failure) if where == "frontend" else Daemon(outcome=failure)
    async with serve(daemon, place.socket) as address:
        outcome = await build(address, place.context, ".", "--progress=plain")

    assert outcome.civil().code == 1, outcome
    assert outcome.error, outcome


_EXPORTED: dict[str, dict[str, str]] = {
    "a digest with escapes": {"containerimage.digest": _ESCAPES, "containerimage.config.digest": _ESCAPES},
    "a digest that leads elsewhere": {"containerimage.digest": "sha256:../../x", "containerimage.config.digest": "../x"},
    "a descriptor that is a list": {"containerimage.descriptor": _encoded([])},
    "a descriptor nested deep": {"containerimage.descriptor": _encoded(b"[" * 100_000)},
    "a descriptor of lists": {"containerimage.descriptor": _encoded({"digest": [], "size": {}, "annotations": 5, "mediaType": 1})},
    "a name with escapes": {"image.name": _ESCAPES},
}


@pytest.mark.parametrize("exported", _EXPORTED.values(), ids=_EXPORTED.keys())
@pytest.mark.parametrize("output", ["-q", "type=oci,tar=false,dest=layout"])
async def test_exporter_that_lies_leaves_nothing_odd(place: Place, exported: dict[str, str], output: str) -> None:
    arguments = ["-q", "-t", "name"] if output == "-q" else ["-o", output]
    async with serve(Daemon(exported=exported), place.socket) as address:
        outcome = await build(address, place.context, *arguments, "--metadata-file=metadata", "--iidfile=id", ".")

    assert outcome.civil().code in (0, 5), outcome
    if (place.context / "id").exists():
        assert (place.context / "id").read_text() == ""
    if (place.context / "metadata").exists():
        json.loads((place.context / "metadata").read_text())


def _vertex(number: int = 0, **fields: Any) -> control_pb2.Vertex:
    vertex = control_pb2.Vertex(**{"digest": f"sha256:{number:064x}", "name": "step", **fields})
    vertex.started.seconds = 1
    return vertex


def _timed(seconds: int, nanos: int) -> Iterable[Answer]:
    vertex = _vertex()
    vertex.started.seconds, vertex.started.nanos = seconds, nanos
    vertex.completed.seconds, vertex.completed.nanos = -seconds, nanos
    part = control_pb2.VertexStatus(ID="part", vertex=vertex.digest, current=-seconds, total=seconds)
    part.timestamp.seconds = part.started.seconds = part.completed.seconds = seconds
    log = control_pb2.VertexLog(vertex=vertex.digest, msg=b"x\n")
    log.timestamp.seconds = seconds
    yield control_pb2.StatusResponse(vertexes=[vertex], statuses=[part], logs=[log])


def _escapes() -> Iterable[Answer]:
    vertex = _vertex(name=_ESCAPES, error=_ESCAPES)
    vertex.progressGroup.id = vertex.progressGroup.name = _ESCAPES
    parts = [control_pb2.VertexStatus(ID=_ESCAPES, name=_ESCAPES, vertex=vertex.digest, total=1)]
    logs = [control_pb2.VertexLog(vertex=vertex.digest, msg=_ESCAPES.encode() * 3)]
    warning = control_pb2.VertexWarning(vertex=vertex.digest, short=_ESCAPES.encode(), detail=[_ESCAPES.encode()], url=_ESCAPES)
    warning.info.filename, warning.info.data = _ESCAPES, _ESCAPES.encode()
    warning.ranges.add().start.line = 1
    yield control_pb2.StatusResponse(vertexes=[vertex], statuses=parts, logs=logs, warnings=[warning])


def _cycle() -> Iterable[Answer]:
    vertexes = [_vertex(n, inputs=[f"sha256:{(n + 1) % 3:064x}"]) for n in range(3)]
    yield control_pb2.StatusResponse(vertexes=vertexes)
    yield control_pb2.StatusResponse(vertexes=vertexes * 100)


def _endless_line() -> Iterable[Answer]:
    vertex = _vertex()
    yield control_pb2.StatusResponse(vertexes=[vertex])
    for _ in range(200):
        yield control_pb2.StatusResponse(logs=[control_pb2.VertexLog(vertex=vertex.digest, msg=b"x" * 100_000)])


def _strangers() -> Iterable[Answer]:
    for block in range(20):
        logs = [control_pb2.VertexLog(vertex=f"{block}-{number}", msg=b"x" * 100_000) for number in range(20)]
        yield control_pb2.StatusResponse(logs=logs)


_PROGRESS: dict[str, Callable[[], Iterable[Answer]]] = {
    "no message": lambda: [_NO_MESSAGE],
    "too long": lambda: [bytes(_OVER)],
    "times before all time": lambda: _timed(-(1 << 62), -(1 << 31)),
    "times after all time": lambda: _timed((1 << 63) - 1, (1 << 31) - 1),
    "escapes": _escapes,
    "a cycle": _cycle,
    "a line without an end": _endless_line,
    "output of steps that nobody knows": _strangers,
}


@pytest.mark.parametrize("progress", ["plain", "rawjson"])
@pytest.mark.parametrize("statuses", _PROGRESS.values(), ids=_PROGRESS.keys())
async def test_progress_of_any_kind_does_no_harm(place: Place, statuses: Callable[[], Iterable[Answer]], progress: str) -> None:
    async with serve(Daemon(statuses=statuses), place.socket) as address:
        outcome = await build(address, place.context, ".", f"--progress={progress}")

    assert outcome.civil().code in (0, 5), outcome


def _steps_without_end() -> Iterable[Answer]:
    for block in range(2000):
        yield control_pb2.StatusResponse(vertexes=[_vertex(block * 1000 + number, name="x" * 100) for number in range(1000)])


async def test_steps_without_end_are_refused_before_they_fill_the_memory(place: Place) -> None:
    async with serve(Daemon(statuses=_steps_without_end, silent=frozenset({"Solve"})), place.socket) as address:
        outcome = await build(address, place.context, ".", "--progress=plain")

    assert outcome.civil().code == 5, outcome
