"""Progress for `-q`: nothing but warnings. What failed is told by the command itself."""

from __future__ import annotations

from kubectl_build.model.events import BuildEvent, Note
from kubectl_build.progress.escape import clean


class QuietView:
    """Keeps warnings, drops the rest."""

    redraws = False

    def __init__(self) -> None:
        self._lines: list[str] = []

    def apply(self, event: BuildEvent, now: float) -> None:
        """Takes over an event."""
        if isinstance(event, Note) and event.level == "warning":
            self._lines.append(f"warning: {clean(event.text)}\n")

    def refresh(self, now: float) -> str:
        """The warnings since the last call."""
        text = "".join(self._lines)
        self._lines.clear()
        return text

    def finish(self, now: float) -> str:
        """The last warnings."""
        return self.refresh(now)
