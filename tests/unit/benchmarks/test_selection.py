"""Which rows a command asks for."""

from __future__ import annotations

import pytest

from benchmarks.row import selected
from benchmarks.rows import ROWS
from tests.cluster.say import Trouble


def test_selection_without_names_is_the_whole_table() -> None:
    assert selected(ROWS, []) == list(ROWS)


def test_selection_by_names_keeps_the_order_of_the_table() -> None:
    assert [row.name for row in selected(ROWS, ["output-oci-512m", "warm-small"])] == ["warm-small", "output-oci-512m"]


def test_selection_of_an_unknown_row_names_it() -> None:
    with pytest.raises(Trouble, match="no row is named warm-smal or nothing"):
        selected(ROWS, ["warm-small", "warm-smal", "nothing"])


def test_rows_have_names_of_their_own_and_enough_runs() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert all(row.runs >= 5 for row in ROWS)
