"""Tables and ages for people, as kubectl prints them (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned with three blanks between them; an empty cell is shown as a dash."""
    cells = [list(header), *([cell or "-" for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return "\n".join("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)


def age(since: datetime | None, now: datetime) -> str:
    """How long ago, in kubectl's short form: 45s, 12m, 5h, 3d; "" when not known."""
    if since is None:
        return ""
    passed = max(now - since, timedelta())
    seconds = int(passed.total_seconds())
    for unit, size, limit in (("s", 1, 120), ("m", 60, 120 * 60), ("h", 3600, 48 * 3600)):
        if seconds < limit:
            return f"{seconds // size}{unit}"
    return f"{seconds // 86400}d"
