"""The page that a run writes."""

from __future__ import annotations

from contextlib import nullcontext

from benchmarks.figures import Compared, Spread, Unit
from benchmarks.report import Outcome, line, page, table_row
from benchmarks.rig import Rig
from benchmarks.row import Measure, Row
from benchmarks.side import Side
from benchmarks.timed import Timed

PAGE = "# Head\n\n<!-- benchmarks: written by `make bench` -->\n<!-- benchmarks end -->\ntail\n"


def _never(side: Side, number: int) -> Timed:
    raise AssertionError(f"{side} {number} was measured")


def _opened(_: Rig) -> nullcontext[Measure]:
    return nullcontext(_never)


def row(name: str, bar: float = 1.0) -> Row:
    return Row(name=name, shows=f"What {name} shows.", bar=bar, opened=_opened)


def outcome(ours: float, theirs: float, bar: float = 1.0) -> Outcome:
    compared = Compared(ours=Spread.of([ours]), theirs=Spread.of([theirs]), bar=bar)
    return Outcome(compared=compared, commands=["kubectl build ./tree", "docker buildx build ./tree"])


FIRST, SECOND = row("first-row"), row("second-row", 0.5)
ROWS = (FIRST, SECOND)


def test_table_row_that_meets_its_bar_says_so() -> None:
    assert table_row(FIRST, outcome(1, 2), "abc") == "| first-row | 1.00 s (1.00..1.00) | 2.00 s (2.00..2.00) | 0.50 | 1 | met | 1 | abc |"


def test_table_row_that_misses_its_bar_says_so() -> None:
    assert "| 2.00 | 1 | **missed** |" in table_row(FIRST, outcome(4, 2), "abc")


def test_table_row_without_figures_is_a_failure() -> None:
    assert "| **failed** |" in table_row(FIRST, Outcome(trouble="it broke"), "abc")


def test_line_of_a_failure_has_the_first_line_of_its_reason() -> None:
    assert line(FIRST, Outcome(trouble="it broke\nand much more")).endswith("it broke")


def test_table_row_with_an_aim_shows_it_beside_the_bar() -> None:
    aimed = Row(name="aimed", shows="", bar=3, aim=1.5, opened=_opened, unit=Unit.SECONDS)

    assert "| 3, aim 1.5 |" in table_row(aimed, outcome(1, 2), "abc")


def test_page_of_a_first_run_has_the_table_and_the_commands_between_the_markers() -> None:
    written = page(PAGE, ROWS, {"second-row": outcome(1, 2), "first-row": outcome(3, 2)}, "- machine", "abc")

    head, _, rest = written.partition("<!-- benchmarks: written by `make bench` -->")
    inside, _, tail = rest.partition("<!-- benchmarks end -->")
    assert (head, tail) == ("# Head\n\n", "\ntail\n")
    assert inside.index("- machine") < inside.index("| first-row |") < inside.index("| second-row |") < inside.index("### first-row")
    assert "```sh\nkubectl build ./tree\ndocker buildx build ./tree\n```" in inside


def test_page_of_a_partial_run_keeps_the_rows_that_did_not_run() -> None:
    before = page(PAGE, ROWS, {"first-row": outcome(3, 2), "second-row": outcome(1, 2)}, "- machine", "old")
    after = page(before, ROWS, {"second-row": Outcome(trouble="it broke")}, "- other machine", "new")

    kept = [written for written in before.splitlines() if written.startswith("| first-row |")]
    assert kept[0] in after
    assert "What first-row shows.\n\n```sh" in after
    assert "What second-row shows.\n\nThere are no figures" in after
    assert "- machine" not in after
    assert after.count("### second-row") == 1


def test_page_written_twice_with_the_same_figures_is_the_same() -> None:
    once = page(PAGE, ROWS, {"first-row": outcome(3, 2)}, "- machine", "abc")

    assert page(once, ROWS, {"first-row": outcome(3, 2)}, "- machine", "abc") == once
