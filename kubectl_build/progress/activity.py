"""What a build is doing just now, in words. Pure."""

from __future__ import annotations

from kubectl_build.model.events import BuildEvent, Note, Sink, StatusUpdate


class Activity:
    """Follows a build's events."""

    def __init__(self) -> None:
        self._waits: dict[str, str] = {}
        self._running: dict[tuple[str, str], str] = {}
        self._last = ""

    def add(self, event: BuildEvent) -> None:
        """Take one event in."""
        if isinstance(event, Note) and event.level == "wait":
            self._waits[event.pool] = event.text
        elif isinstance(event, StatusUpdate):
            self._waits.pop(event.pool, None)
            for vertex in event.vertexes:
                self._running.pop((event.pool, vertex.digest), None)
                if vertex.completed is not None:
                    self._last = vertex.name
                elif vertex.started is not None:
                    self._running[event.pool, vertex.digest] = vertex.name

    def before(self, emit: Sink) -> Sink:
        """A sink that gives each event to this one, and then to `emit`."""

        def both(event: BuildEvent) -> None:
            self.add(event)
            emit(event)

        return both

    def words(self) -> str:
        """What is waited for, else the step that began last, as the end of a sentence that begins with "the build was"."""
        if waits := [text for text in self._waits.values() if text]:
            return waits[-1]
        if self._running:
            *others, newest = self._running.values()
            return f'at "{newest}"' + (f" and {len(others)} other step{'s' if len(others) > 1 else ''}" if others else "")
        return f'between steps, after "{self._last}"' if self._last else "being prepared: no step had begun"
