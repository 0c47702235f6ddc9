"""The frontend's warnings, told together when the build has ended, as docker buildx does (commands/build.go printWarnings)."""

from __future__ import annotations

from dataclasses import replace

from kubectl_build.model.events import StatusUpdate, VertexWarning
from kubectl_build.model.source import excerpt, excerpt_lines
from kubectl_build.progress.escape import clean, clean_line


class Warnings:
    """Collects warnings. Planning, each pool and each try of a build reads the Dockerfile anew and warns of the same: it is kept once."""

    def __init__(self, *, details: bool = False) -> None:
        self._details = details
        self._found: dict[VertexWarning, VertexWarning] = {}

    @property
    def found(self) -> tuple[VertexWarning, ...]:
        """Each warning as it came first."""
        return tuple(self._found.values())

    def add(self, update: StatusUpdate) -> None:
        """Takes over what an update warns of."""
        for warning in update.warnings:
            self._found.setdefault(replace(warning, vertex=""), warning)

    def lines(self) -> list[str]:
        """What to write last, safe to print: an empty line, the count, then each warning. Empty without any."""
        if not self._found:
            return []
        count = "1 warning found" if len(self._found) == 1 else f"{len(self._found)} warnings found"
        more = "" if self._details else " (use --debug to expand)"
        return ["", f" {count}{more}:", *(line for warning in self._found for line in self._warning(warning))]

    def _warning(self, warning: VertexWarning) -> list[str]:
        lines = [f" - {clean_line(warning.short)}"]
        if self._details:
            lines += [line for detail in warning.detail for line in clean(detail).split("\n")]
            lines += [f"More info: {clean_line(warning.url)}"] if warning.url else []
            lines += map(clean_line, excerpt_lines(excerpt(warning.filename, warning.data, warning.lines)))
            lines.append("")
        return lines
