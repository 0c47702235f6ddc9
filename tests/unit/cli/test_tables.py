"""Tables and ages for people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kubectl_build.cli.tables import age, table

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_table_aligns_columns_and_shows_empty_cells_as_dashes() -> None:
    assert table(["NAME", "NODES"], [["buildkit", ""], ["a", "x"]]).splitlines() == ["NAME       NODES", "buildkit   -", "a          x"]


@pytest.mark.parametrize(
    ("passed", "shown"),
    [
        (timedelta(seconds=-5), "0s"),
        (timedelta(seconds=119), "119s"),
        (timedelta(minutes=2), "2m"),
        (timedelta(hours=2), "2h"),
        (timedelta(hours=49), "2d"),
    ],
)
def test_age_is_kubectls_short_form(passed: timedelta, shown: str) -> None:
    assert age(NOW - passed, NOW) == shown


def test_age_that_is_not_known_is_empty() -> None:
    assert age(None, NOW) == ""
