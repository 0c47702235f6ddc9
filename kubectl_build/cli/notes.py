"""Notes of commands that have no display: lines on stderr."""

from __future__ import annotations

import sys

from kubectl_build.model.events import BuildEvent, Note


class _Notes:
    """Notes as lines on stderr; what is waited for is said once, however often it is seen."""

    def __init__(self) -> None:
        self._waiting = ""

    def __call__(self, event: BuildEvent) -> None:
        if not isinstance(event, Note) or not event.text:
            return
        if event.level == "wait":
            if event.text == self._waiting:
                return
            self._waiting = event.text
        print(event.text, file=sys.stderr)


note = _Notes()
"""The sink of a command."""
