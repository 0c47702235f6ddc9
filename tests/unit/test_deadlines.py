"""The limits of waits: their overriding, their page."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubectl_build.deadlines import VARIABLE, Deadlines, deadlines, meanings, parse_deadlines, parse_duration
from kubectl_build.errors import UsageError

_PAGE = Path(__file__).parents[2] / "docs" / "deadlines.md"


def test_deadlines_that_the_variable_names_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "ready=20m, connect=30s")
    assert deadlines() == Deadlines(ready=1200, connect=30)

    monkeypatch.delenv(VARIABLE)
    assert deadlines() == Deadlines()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raedy=20m", 'KUBECTL_BUILD_DEADLINES names "raedy", and there is no such deadline'),
        ("ready", 'KUBECTL_BUILD_DEADLINES has "ready", which is not NAME=TIME'),
        ("ready=soon", 'ready of KUBECTL_BUILD_DEADLINES "soon" is not a time'),
        ("ready=0", 'ready of KUBECTL_BUILD_DEADLINES "0" is not a time'),
    ],
)
def test_deadlines_that_cannot_be_understood_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_deadlines(text)

    assert caught.value.message == message
    assert caught.value.hint


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("1m30s", 90), ("1.5h", 5400), ("250ms", 0.25), ("1h0m1s", 3601)])
def test_durations_are_read_as_go_reads_them(text: str, seconds: float) -> None:
    assert parse_duration(text, "--timeout") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-3s", "3 s", "3d", "1m30", "inf", "nan", "٣"])
def test_durations_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--timeout .* is not a time$"):
        parse_duration(text, "--timeout")


def test_page_lists_every_deadline() -> None:
    rows = [line for line in _PAGE.read_text().splitlines() if line.startswith("| `")]
    assert rows == [f"| `{name}` | {seconds:g} | {meaning} |" for name, (seconds, meaning) in meanings().items()]
