from __future__ import annotations

import pytest

from kubectl_build.progress.units import format_amount, format_bytes, format_log_time


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1.00kB"),
        (1234, "1.23kB"),
        (999_999, "1000.00kB"),
        (5 * 10**6, "5.00MB"),
        (3 * 10**21, "3000.00EB"),
    ],
)
def test_bytes_are_decimal_with_two_digits(count: int, expected: str) -> None:
    assert expected == format_bytes(count)


def test_amount_names_the_total_only_when_known() -> None:
    assert format_amount(1000, 2000) == "1.00kB / 2.00kB"
    assert format_amount(0, 2000) == "0B / 2.00kB"
    assert format_amount(1000, 0) == "1.00kB"
    assert format_amount(0, 0) == ""


@pytest.mark.parametrize(("seconds", "expected"), [(0.1234, "0.123"), (12.345, "12.35"), (123.45, "123.5")])
def test_log_time_has_fewer_digits_the_longer_it_takes(seconds: float, expected: str) -> None:
    assert expected == format_log_time(seconds)
