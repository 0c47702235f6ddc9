"""The journal of what was made or changed on the machine itself, so that `down` undoes exactly that.

An entry is written before its thing is made: an interrupted `up` leaves at most an entry without a thing, never a thing without an entry.
The journal is under RUN, for it must outlive the checkout.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.cluster import layout


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing: kind is one of `undo`'s, name is its path or name, was is what stood there before (sysctl only)."""

    kind: str
    name: str
    was: str = ""


class Journal:
    """An append-only list of entries in one file, one JSON object a line."""

    def __init__(self, path: Path = layout.RUN / "made") -> None:
        self._path = path

    def entries(self) -> list[Entry]:
        """Return all entries, oldest first; a last line cut off by a crash belongs to a thing never made."""
        try:
            lines = self._path.read_text().splitlines()
        except FileNotFoundError:
            return []
        entries = []
        for line in lines:
            try:
                entries.append(Entry(**json.loads(line)))
            except ValueError:
                continue
        return entries

    def add(self, entry: Entry) -> None:
        """Record that a thing is about to be made; one that is recorded already stays as it was first."""
        if any((old.kind, old.name) == (entry.kind, entry.name) for old in self.entries()):
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+") as file:
            cut_off = file.tell() > 0 and not self._path.read_text().endswith("\n")
            file.write(("\n" if cut_off else "") + json.dumps(asdict(entry)) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def keep(self, entries: Iterable[Entry]) -> None:
        """Replace the journal by the entries that could not be undone; none removes it."""
        left = list(entries)
        if not left:
            self._path.unlink(missing_ok=True)
            return
        partial = self._path.with_suffix(".new")
        partial.write_text("".join(json.dumps(asdict(entry)) + "\n" for entry in left))
        partial.rename(self._path)
