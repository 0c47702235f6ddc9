from __future__ import annotations

import base64
import json
from typing import Any

from kubectl_build.model.events import BuildEvent, Note, Placed, StatusUpdate, VertexGroup, VertexWarning
from kubectl_build.progress.quiet import QuietView
from kubectl_build.progress.rawjson import RawJsonView
from tests.unit.progress.builders import T0, log, status, vertex


def lines(*events: BuildEvent) -> list[dict[str, Any]]:
    view = RawJsonView()
    for event in events:
        view.apply(event, T0)
    return [json.loads(line) for line in (view.refresh(T0) + view.finish(T0 + 9)).splitlines()]


def test_rawjson_has_the_names_of_gos_solve_status() -> None:
    events = [
        vertex("sha256:a", "RUN make", started=0, completed=1.5, cached=True, error="bad", group=VertexGroup(id="g", name="G", weak=True)),
        status("sha256:a", "layer", current=5, total=10, started=0, now=1, completed=1),
        log("sha256:a", b"\xff\n", now=1),
    ]

    assert lines(*events) == [
        {
            "vertexes": [
                {
                    "digest": "sha256:a",
                    "name": "RUN make",
                    "started": "2023-11-14T22:13:20Z",
                    "completed": "2023-11-14T22:13:21.500000Z",
                    "cached": True,
                    "error": "bad",
                    "progressGroup": {"id": "g", "name": "G", "weak": True},
                }
            ]
        },
        {
            "statuses": [
                {
                    "id": "layer",
                    "vertex": "sha256:a",
                    "name": "layer",
                    "total": 10,
                    "current": 5,
                    "timestamp": "2023-11-14T22:13:21Z",
                    "started": "2023-11-14T22:13:20Z",
                    "completed": "2023-11-14T22:13:21Z",
                }
            ]
        },
        {"logs": [{"vertex": "sha256:a", "stream": 1, "data": "/wo=", "timestamp": "2023-11-14T22:13:21Z"}]},
    ]


def test_rawjson_leaves_out_what_go_does_but_not_a_count_of_zero() -> None:
    (first, second) = lines(vertex("sha256:a", "RUN make"), status("sha256:a", "layer", started=None))

    assert first == {"vertexes": [{"digest": "sha256:a", "name": "RUN make"}]}
    assert second["statuses"][0]["current"] == 0
    assert "total" not in second["statuses"][0]


def test_rawjson_warning_points_into_its_file() -> None:
    warned = VertexWarning(
        vertex="a", level=1, short="s", detail=("d",), url="u", filename="F", language="Dockerfile", data=b"FROM", lines=((3, 4),)
    )
    (line,) = lines(StatusUpdate(warnings=(warned,)))

    assert {
        "vertex": "a",
        "level": 1,
        "short": base64.b64encode(b"s").decode(),
        "detail": [base64.b64encode(b"d").decode()],
        "url": "u",
        "sourceInfo": {"filename": "F", "language": "Dockerfile", "data": base64.b64encode(b"FROM").decode()},
        "range": [{"start": {"line": 3}, "end": {"line": 4}}],
    } == line["warnings"][0]


def test_rawjson_same_digest_of_two_pools_is_two_vertices() -> None:
    amd, arm, said = lines(vertex("a", "RUN", pool="amd64"), vertex("a", "RUN", pool="arm64"), log("a", b"x", pool="arm64"))

    assert [line["vertexes"][0]["name"] for line in (amd, arm)] == ["[amd64] RUN", "[arm64] RUN"]
    assert amd["vertexes"][0]["digest"] != arm["vertexes"][0]["digest"] == said["logs"][0]["vertex"]


def test_rawjson_notes_are_a_step_that_ends_with_the_build() -> None:
    first, second, third, last = lines(
        Placed(platform="linux/amd64", mode="native", pool="amd64"),
        Note(text="plan"),
        Note(text="careful", level="warning"),
        Note(text="waiting", level="wait"),
        Note(text="", level="wait"),
    )
    (step,) = first["vertexes"]

    assert base64.b64decode(first["logs"][0]["data"]).decode() == "plan\n"
    assert base64.b64decode(second["warnings"][0]["short"]).decode() == "careful"
    assert base64.b64decode(third["logs"][0]["data"]).decode() == "waiting\n"
    assert {step["digest"]} == {first["logs"][0]["vertex"], second["warnings"][0]["vertex"], third["logs"][0]["vertex"]}
    assert [{**step, "completed": "2023-11-14T22:13:29Z"}] == last["vertexes"]


def test_quiet_shows_only_warnings() -> None:
    view = QuietView()
    for event in (Note(text="plan"), Note(text="wait", level="wait"), vertex("a", started=0), log("a", b"x\n")):
        view.apply(event, T0)
    view.apply(Note(text="care\x1b[2Jful", level="warning"), T0)

    assert view.refresh(T0) == "warning: careful\n"
    assert view.finish(T0) == ""
