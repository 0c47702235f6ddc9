"""The lines below the headline of the live view: each platform, how and where it is built, and how far it is. Pure."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text

from kubectl_build.model.events import Placed, Reached
from kubectl_build.progress.escape import clean_line
from kubectl_build.progress.rows import Pen, count_steps, short_platform
from kubectl_build.progress.state import State
from kubectl_build.values import dataclass

_BAR_CELLS = 10
_BAR_MIN_WIDTH = 70
_POD_MIN_WIDTH, _NODE_MIN_WIDTH, _WHY_MIN_WIDTH = 56, 64, 110
"""Narrower terminals have no room for the pod, the node, and the reason."""
_STYLES = {"native": "", "cross": "cyan", "QEMU": "magenta"}


@dataclass(frozen=True, slots=True)
class _Place:
    """One line: the platforms that one pool builds in one mode. `done` of the `total` steps that are theirs have ended."""

    names: str
    placed: Placed
    done: int
    total: int


def place_rows(state: State, pen: Pen, width: int, rows: int, *, bars: bool) -> list[Text]:
    """The platforms, one a line; those of one pool and mode in one line where there is no room for `rows` such lines.

    What does not fit even so is counted in the last line.
    """
    if not state.places:
        return []
    places = _places(state, grouped=len(state.places) > rows)
    left_out = places[max(0, rows - 1) :] if len(places) > max(1, rows) else []
    places = places[: len(places) - len(left_out)]
    counts = max((len(_count(place, bars=bars)) for place in places), default=0)
    names = min(max((cell_len(place.names) for place in places), default=0), max(12, width // 3))
    modes = max((len(place.placed.mode) for place in places), default=0)
    lines = [_row(place, state.pods.get(place.placed.pool), pen, width, (names, modes, counts), bars=bars) for place in places]
    if left_out:
        text = f"{pen.glyphs.ellipsis} and " if places else ""
        lines.append(pen.row(Text(f"  {text}{', '.join(f'{place.names} {place.placed.mode}' for place in left_out)}", "dim"), "", width))
    return lines


def _row(place: _Place, pod: Reached | None, pen: Pen, width: int, columns: tuple[int, int, int], *, bars: bool) -> Text:
    """One line; `columns` are the widths of names, modes and counts."""
    names, modes, counts = columns
    mode = place.placed.mode
    left = Text("  ").append_text(pen.row(Text(place.names), "", names + 1))
    left.append(" " * max(0, names + 2 - left.cell_len)).append(f"  {mode.ljust(modes)}", _STYLES.get(mode, ""))
    left.append(f"  {_where(place.placed, pod, width)}", "dim")
    if place.placed.why and width >= _WHY_MIN_WIDTH:
        left.append(f"  {clean_line(place.placed.why)}", "dim italic")
    right = Text()
    if place.total:
        if bars and width >= _BAR_MIN_WIDTH:
            right = pen.bar(place.done, place.total, _BAR_CELLS).append("  ")
        right.append(_count(place, bars=bars).rjust(counts), "dim")
    return pen.row(left, right, width)


def _count(place: _Place, *, bars: bool) -> str:
    return f"{place.done}/{place.total}" if bars else count_steps(place.total)


def _where(placed: Placed, pod: Reached | None, width: int) -> str:
    if pod is None or width < _POD_MIN_WIDTH:
        return f"pool {placed.pool}"
    return clean_line(f"{pod.name} on {pod.node}" if pod.node and width >= _NODE_MIN_WIDTH else pod.name)


def _places(state: State, *, grouped: bool) -> list[_Place]:
    groups: dict[tuple[str, ...], list[Placed]] = {}
    for placed in state.places.values():
        key = (placed.pool, placed.mode) if grouped else (placed.platform,)
        groups.setdefault(key, []).append(placed)
    steps: dict[str, list[bool]] = {}
    for step in state.steps.values():
        if step.placed is not None and not step.hidden:
            steps.setdefault(step.placed.platform, []).append(step.completed)
    found = []
    for members in groups.values():
        ended = [done for placed in members for done in steps.get(placed.platform, ())]
        names = [short_platform(placed.platform) if grouped else placed.platform for placed in members]
        found.append(_Place(", ".join(names), members[0], sum(ended), len(ended)))
    return found
