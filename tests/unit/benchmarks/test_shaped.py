"""When a slow path delivers."""

from __future__ import annotations

import pytest

from benchmarks.shaped import Line


def test_line_delivers_after_its_delay_and_the_time_that_the_bytes_take() -> None:
    assert Line(rate=1000, delay=0.5).put(10.0, 2000) == pytest.approx(12.5)


def test_line_shared_by_several_delivers_one_after_the_other() -> None:
    line = Line(rate=1000, delay=0)

    assert [line.put(0.0, 1000), line.put(0.0, 1000), line.put(5.0, 1000)] == [1.0, 2.0, 6.0]


def test_line_with_a_long_queue_takes_no_more_until_it_is_shorter() -> None:
    line = Line(rate=1000, delay=0)
    assert line.full_for(0.0) == 0
    line.put(0.0, 1000)

    assert line.full_for(0.0) == pytest.approx(0.9)
    assert line.full_for(0.95) == 0
