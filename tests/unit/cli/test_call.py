"""Answers of --call that no frontend of today gives; the usual ones are compared with buildx in tests/integration/test_call.py."""

from __future__ import annotations

import io
import json

import pytest

from kubectl_build.buildkit.subrequest import CallResult
from kubectl_build.cli.call import show_call
from kubectl_build.errors import ProtocolError, SolveError
from kubectl_build.model.request import Call

WARNING = {"ruleName": "Rule", "detail": "why", "location": {"sourceIndex": -1}}


def answer(document: object, *, status: int = 0, **texts: str) -> CallResult:
    metadata = {f"result.{key}" if key == "txt" else key: text.encode() for key, text in texts.items()}
    return CallResult(metadata={"result.json": json.dumps(document).encode(), **metadata}, status=status)


def shown(result: CallResult, call: Call) -> str:
    out = io.StringIO()
    show_call(result, call, out=out)
    return out.getvalue()


def test_call_answer_of_a_newer_structure_is_the_frontends_own_text() -> None:
    assert shown(answer({"newer": 1}, version="1.10.0", txt="its own words\n"), Call(method="outline")) == "its own words\n"
    assert shown(answer({"targets": []}, version="1.0.0", txt="its own words\n"), Call(method="targets")) == "TARGET DESCRIPTION\n"


def test_call_of_another_method_prints_the_frontends_text_or_its_json() -> None:
    assert shown(answer({"a": 1}, txt="words"), Call(method="poem")) == "words"
    assert shown(answer({"a": 1}), Call(method="poem")) == '{"a": 1}\n'
    assert shown(answer({"a": 1}, txt="words"), Call(method="poem", as_json=True)) == '{"a": 1}\n'


@pytest.mark.parametrize("text", [b"{", b'{"warnings": [{"location": {"sourceIndex": 3}}]}', b'{"warnings": 1}', b"[]"])
def test_check_answer_that_cannot_be_read_is_told_in_words(text: bytes) -> None:
    with pytest.raises(ProtocolError, match="frontend's answer"):
        show_call(CallResult(metadata={"result.json": text}), Call(method="check"), out=io.StringIO())


def test_check_warning_that_points_nowhere_has_no_excerpt_and_comes_first() -> None:
    placed = {"ruleName": "A", "detail": "here", "location": {"ranges": [{"start": {"line": 1}, "end": {"line": 1}}]}}
    document = {"warnings": [placed, WARNING], "sources": [{"filename": "Dockerfile", "data": "RlJPTSBh"}]}

    assert shown(answer(document), Call(method="check")) == (
        "Check complete, 2 warnings have been found!\n\nWARNING: Rule\nwhy\n\nWARNING: A\nhere\n"
        "Dockerfile:1\n--------------------\n   1 | >>> FROM a\n--------------------\n"
    )


def test_check_writes_nothing_that_moves_the_cursor_and_nothing_that_the_stream_cannot_encode() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    warned = {**WARNING, "detail": "Ä\x1b[2J"}

    show_call(answer({"warnings": [warned]}), Call(method="check"), out=out)

    assert raw.getvalue().decode().splitlines()[-1] == "\\xc4"


@pytest.mark.parametrize(("ignore", "code"), [(False, 7), (True, 0)])
def test_call_exits_with_the_frontends_status_unless_it_is_ignored(ignore: bool, code: int) -> None:
    call = Call(method="check", ignore_status=ignore)

    assert show_call(answer({"warnings": [WARNING]}, status=7), call, out=io.StringIO()) == code


@pytest.mark.parametrize("as_json", [False, True])
def test_check_of_a_dockerfile_that_cannot_be_built_fails_also_in_json(as_json: bool) -> None:
    place = {"ranges": [{"start": {"line": 1}, "end": {"line": 1}}]}
    document = {"warnings": None, "sources": [{"filename": "F", "data": "QkFE"}], "buildError": {"message": "bad", "location": place}}
    out = io.StringIO()

    with pytest.raises(SolveError, match="bad") as failure:
        show_call(answer(document), Call(method="check", as_json=as_json, ignore_status=True), out=out)

    assert failure.value.sources[0].lines == ((1, "BAD", True),)
    assert out.getvalue() == (f"{json.dumps(document)}\n" if as_json else "")
