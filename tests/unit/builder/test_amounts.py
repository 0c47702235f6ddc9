from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_build.builder.amounts import format_seconds, parse_quantity, parse_seconds
from kubectl_build.errors import UsageError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", "1"),
        ("0.5", "0.5"),
        (".5", "0.5"),
        ("100m", "0.1"),
        ("2k", "2000"),
        ("1M", "1000000"),
        ("1Ki", "1024"),
        ("1.5Gi", "1610612736"),
        ("1E", "1000000000000000000"),
        ("1e3", "1000"),
        ("12E2", "1200"),
        ("5u", "0.000005"),
    ],
)
def test_quantity_is_read_as_kubernetes_reads_it(text: str, value: str) -> None:
    assert parse_quantity(text, what="size") == Decimal(value)


@pytest.mark.parametrize("text", ["", "x", "1GB", "1 Gi", "-1", "1gi", "Gi", "1e", "1e999", "١"])
def test_quantity_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_quantity(text, what="size of it")
    assert f'size of it "{text}"' in caught.value.message


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("0s", 0), ("90s", 90), ("1h30m", 5400), ("1500ms", 2), ("45", 45)])
def test_duration_is_whole_seconds(text: str, seconds: int) -> None:
    assert parse_seconds(text, what="time") == seconds


@given(st.integers(0, 10**7))
def test_duration_that_was_written_reads_back(seconds: int) -> None:
    assert parse_seconds(format_seconds(seconds), what="time") == seconds
