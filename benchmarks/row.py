"""What a row of the table is, and which rows a command asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from benchmarks.figures import Unit
from benchmarks.rig import Rig
from benchmarks.side import Side
from benchmarks.timed import Timed
from tests.cluster.say import Trouble

Measure = Callable[[Side, int], Timed]
"""One run of one side. The number is 0 for the warm-up, which is not counted. Raises Trouble when the result is not as it must be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    name: str
    shows: str
    bar: float
    """The ratio ours/theirs is at most this."""
    opened: Callable[[Rig], AbstractContextManager[Measure]]
    """Makes what the row needs, and takes it away again."""
    unit: Unit = Unit.SECONDS
    runs: int = 5
    warm: bool = True
    """Whether a warm-up goes before, which is not counted."""
    aim: float | None = None
    sides: tuple[str, str] = ("kubectl build", "docker buildx")
    notes: str = ""


def selected(rows: Sequence[Row], only: Sequence[str]) -> list[Row]:
    """The rows of these names in the order of the table, all without names; raises Trouble for a name that no row has."""
    names = {row.name for row in rows}
    unknown = [name for name in only if name not in names]
    if unknown:
        raise Trouble(f"no row is named {' or '.join(unknown)}: --list shows them all")
    return [row for row in rows if not only or row.name in only]
