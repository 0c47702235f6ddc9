"""The output of steps as a report keeps it: the last part of each, and not more in all than a page can hold."""

from __future__ import annotations

from collections import deque
from dataclasses import field

from kubectl_build.progress.escape import LogDecoder, clean_line, last_overwrite
from kubectl_build.values import dataclass

_STEP, _CROWDED = 256 << 10, 4 << 10
"""Characters kept of a step, and of a step once there is much output in all."""
_MUCH = 12 << 20
_LONGEST_LINE = 4000


@dataclass(slots=True)
class StepOutput:
    """The output of one step: its last lines."""

    lines: deque[str] = field(default_factory=deque)
    dropped: int = 0
    size: int = 0
    rest: str = ""
    decoder: LogDecoder = field(default_factory=LogDecoder)


class Outputs:
    """The output of all steps, by any key."""

    def __init__(self) -> None:
        self._steps: dict[object, StepOutput] = {}
        self._size = 0

    def add(self, key: object, data: bytes) -> None:
        """Takes output that is cut anywhere."""
        output = self._steps.setdefault(key, StepOutput())
        pieces = (output.rest + output.decoder.decode(data)).split("\n")
        output.rest = pieces.pop()[-_LONGEST_LINE:]
        for piece in pieces:
            line = _shown(piece)
            output.lines.append(line)
            output.size += len(line) + 1
            self._size += len(line) + 1
        limit = _STEP if self._size < _MUCH else _CROWDED
        while output.size > limit and len(output.lines) > 1:
            gone = len(output.lines.popleft()) + 1
            output.size -= gone
            self._size -= gone
            output.dropped += 1

    def of(self, key: object) -> tuple[tuple[str, ...], int]:
        """The lines of a step, and how many before them are gone."""
        output = self._steps.get(key)
        if output is None:
            return (), 0
        return (*output.lines, *([_shown(output.rest)] if output.rest else [])), output.dropped


def _shown(line: str) -> str:
    return clean_line(last_overwrite(line)[:_LONGEST_LINE])
