"""What is made of several runs: the median, the spread, and the ratio of two medians. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Unit(Enum):
    """What a row compares."""

    SECONDS = "s"
    MEBIBYTES = "MiB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Counted runs of one side, in the row's unit."""

    median: float
    least: float
    most: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Raises ValueError without any value."""
        seen = sorted(values)
        if not seen:
            raise ValueError("no run was counted")
        return cls(median=statistics.median(seen), least=seen[0], most=seen[-1], count=len(seen))

    def shown(self, unit: Unit) -> str:
        """`1.23 s (1.20..1.31)`; whole numbers from 100 on, where decimals would only be noise."""
        digits = 0 if self.median >= 100 else 1 if self.median >= 10 else 2
        return f"{self.median:.{digits}f} {unit.value} ({self.least:.{digits}f}..{self.most:.{digits}f})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Both sides of a row."""

    ours: Spread
    theirs: Spread
    bar: float

    @property
    def ratio(self) -> float:
        """Of the medians, ours over theirs."""
        return self.ours.median / self.theirs.median

    @property
    def met(self) -> bool:
        """Whether the ratio, as it is shown, is at most the bar."""
        return round(self.ratio, 2) <= self.bar
