"""The figures of several runs."""

from __future__ import annotations

import pytest

from benchmarks.figures import Compared, Spread, Unit


def spread(*values: float) -> Spread:
    return Spread.of(values)


@pytest.mark.parametrize(("values", "median"), [((3, 1, 2), 2), ((4, 1, 2, 3), 2.5), ((7,), 7)])
def test_spread_of_runs_in_any_order_has_their_median(values: tuple[float, ...], median: float) -> None:
    found = Spread.of(values)

    assert (found.median, found.least, found.most, found.count) == (median, min(values), max(values), len(values))


def test_spread_without_a_run_is_refused() -> None:
    with pytest.raises(ValueError, match="no run was counted"):
        Spread.of([])


@pytest.mark.parametrize(
    ("values", "unit", "shown"),
    [
        ((0.2, 0.212, 0.25), Unit.SECONDS, "0.21 s (0.20..0.25)"),
        ((11.02, 12.06, 13.0), Unit.SECONDS, "12.1 s (11.0..13.0)"),
        ((114.9, 115.4, 116.2), Unit.MEBIBYTES, "115 MiB (115..116)"),
    ],
)
def test_spread_shown_has_as_many_digits_as_mean_something(values: tuple[float, ...], unit: Unit, shown: str) -> None:
    assert Spread.of(values).shown(unit) == shown


@pytest.mark.parametrize(("ours", "met"), [(5.9, True), (6.0, True), (6.04, True), (6.1, False)])
def test_bar_holds_for_the_ratio_that_is_shown(ours: float, met: bool) -> None:
    compared = Compared(ours=spread(ours), theirs=spread(10), bar=0.6)

    assert compared.ratio == pytest.approx(ours / 10)
    assert compared.met is met


def test_ratio_is_of_the_medians_not_of_the_best_runs() -> None:
    assert Compared(ours=spread(1, 4, 5), theirs=spread(1, 2, 9), bar=1).ratio == 2
