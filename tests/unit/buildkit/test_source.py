"""The lines of a Dockerfile that are shown with a warning or an error."""

from __future__ import annotations

import base64
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kubectl_build.buildkit.source import json_excerpt


def info(count: int) -> dict[str, Any]:
    return {"filename": "Dockerfile", "data": base64.b64encode("\n".join(f"line {n}" for n in range(1, count + 1)).encode()).decode()}


def span(start: int, end: int) -> dict[str, Any]:
    return {"start": {"line": start}, "end": {"line": end}}


def numbers(count: int, start: int, end: int) -> tuple[int, int]:
    lines = json_excerpt(info(count), [span(start, end)]).lines
    return lines[0][0], lines[-1][0]


def test_excerpt_of_one_line_has_two_on_each_side() -> None:
    assert numbers(20, 10, 10) == (8, 12)


def test_excerpt_of_several_lines_has_one_on_each_side() -> None:
    assert numbers(20, 10, 12) == (9, 13)


def test_excerpt_at_the_start_and_at_the_end_stays_within_the_file() -> None:
    assert numbers(20, 1, 1) == (1, 3)
    assert numbers(20, 20, 20) == (18, 20)
    assert numbers(1, 1, 1) == (1, 1)


def test_excerpt_of_a_place_that_is_not_in_the_file_has_no_lines() -> None:
    assert json_excerpt(info(3), [span(4, 4)]).lines == ()
    assert json_excerpt(info(3), [span(0, 0)]).lines == ()
    assert json_excerpt(info(3), []).lines == ()
    assert json_excerpt({}, [span(2, 2)]).lines == ()


def test_excerpt_marks_what_each_range_names_and_takes_the_name_that_is_given() -> None:
    found = json_excerpt(info(9), [span(3, 3), span(5, 6)], filename="sub/Dockerfile")
    assert found.filename == "sub/Dockerfile"
    assert [number for number, _, marked in found.lines if marked] == [3, 5, 6]


@given(st.integers(1, 30), st.lists(st.tuples(st.integers(-2, 40), st.integers(-2, 40)), min_size=1, max_size=4))
def test_excerpt_of_any_ranges_has_only_lines_of_the_file_in_order(count: int, spans: list[tuple[int, int]]) -> None:
    lines = json_excerpt(info(count), [span(*one) for one in spans]).lines
    assert [text for _, text, _ in lines] == [f"line {number}" for number, _, _ in lines]
    assert [number for number, _, _ in lines] == list(range(lines[0][0], lines[0][0] + len(lines))) if lines else True
