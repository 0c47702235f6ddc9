"""The table of the matrix, for a terminal and for docs/reliability.md."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.faults.fault import Fault, Seen

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
_BEGIN, _END = "<!-- faults: written by `make faults` -->", "<!-- faults end -->"


def line(fault: Fault, seen: Seen) -> str:
    """One row for a terminal."""
    return f"{'ok  ' if not seen.wrong else 'NOT '} {fault.name:45} {seen.seconds:5.1f} s  {seen.outcome}  {seen.told}"


def _cell(text: str) -> str:
    """Text for a table: without what differs from run to run, or would end the cell."""
    text = re.sub(r"\b10\.77\.0\.1:\d{5}\b", "10.77.0.1:PORT", text)
    text = re.sub(r"\b[0-9a-f]{6}-\d+\b", "ID", text)
    text = re.sub(r"\bfaults-[0-9a-f]{6}\b", "NAMESPACE", text)
    text = re.sub(r"/\S*kubectl-build-faults-\w+/", "", text)
    text = re.sub(r"\b[\w-]+@[\w-]+ \(", "USER@HOST (", text)
    text = re.sub(r"sha256:[0-9a-f]{12,}", "sha256:...", text)
    shown = text if len(text) <= 300 else text[:297] + "..."
    return shown.replace("|", "\\|").replace("<", "&lt;")


def _row(fault: Fault, seen: Seen) -> str:
    outcome = "**not as it must be**" if seen.wrong else seen.outcome
    told = seen.wrong.splitlines()[0] if seen.wrong else seen.told
    return f"| {fault.name} | {fault.strikes.value} | {outcome} | {seen.seconds:.1f} | {_cell(told)} |"


def write(matrix: Sequence[Fault], seen: Mapping[str, Seen]) -> None:
    """Put the rows that ran into the document's table; those that did not run stay as they were."""
    text = DOCUMENT.read_text()
    head, _, rest = text.partition(_BEGIN)
    old, _, tail = rest.partition(_END)
    rows = {match[1]: match[0] for match in re.finditer(r"^\| ([^|]+) \|.*$", old, re.MULTILINE)}
    rows.update({fault.name: _row(fault, seen[fault.name]) for fault in matrix if fault.name in seen})
    table = "\n".join(rows[fault.name] for fault in matrix if fault.name in rows)
    columns = "| fault | strikes | outcome | seconds | what the user reads |\n| --- | --- | --- | --- | --- |"
    DOCUMENT.write_text(f"{head}{_BEGIN}\n{columns}\n{table}\n{_END}{tail}")
