"""How a line of the live view is laid out: signs, columns and what is cut where. Pure; needs rich for styled text."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text

from kubectl_build.progress.escape import clean_line, last_overwrite
from kubectl_build.progress.state import Step
from kubectl_build.values import dataclass

_MIN_LEFT_CELLS = 12
"""With less room for the name, the column on the right is left out."""
_LONGEST_PLATFORM = 14
_STAGE_SHARE = 7
"""Stages and their numbers take at most one such part of a line."""
_STAGES_MIN_WIDTH = 56
"""Narrower terminals do not say the stage."""
_DIGEST = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """The signs of the picture, each one cell wide but for `ellipsis`."""

    done: str
    failed: str
    canceled: str
    waiting: str
    running: str
    log: str
    warning: str
    full: str
    empty: str
    ellipsis: str


UNICODE = Glyphs(
    done="✔", failed="✘", canceled="○", waiting="◌", running="⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", log="│", warning="!", full="━", empty="─", ellipsis="…"
)
ASCII = Glyphs(done="+", failed="x", canceled="o", waiting=".", running="-\\|/", log="|", warning="!", full="#", empty="-", ellipsis="...")


def glyphs_for(encoding: str) -> Glyphs:
    """The best signs that `encoding` can write."""
    try:
        "".join([UNICODE.done, UNICODE.failed, UNICODE.canceled, UNICODE.waiting, UNICODE.running, UNICODE.log, UNICODE.full]).encode(
            encoding
        )
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def short_platform(platform: str) -> str:
    """A platform without the system that nearly all have."""
    return platform.removeprefix("linux/")


def short_text(text: str) -> str:
    """One line of what others wrote, with digests cut to what tells them apart."""
    return _DIGEST.sub(r"\1", " ".join(clean_line(text).split()))


def format_duration(seconds: float) -> str:
    """`4.2s`, `2m03s`, `1h02m`."""
    if seconds < 100:
        return f"{max(0.0, seconds):.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02}m"


def count_steps(count: int) -> str:
    """`1 step`, `2 steps`."""
    return f"{count} step" if count == 1 else f"{count} steps"


class Columns:
    """The widths of the columns before a step's words. They only grow, so that lines keep their places from picture to picture."""

    def __init__(self) -> None:
        self._platforms: dict[str, None] = {}
        self._stage = 0
        self._taken = 0

    def take(self, steps: Sequence[Step]) -> None:
        """Make room for `steps`; each time more of the same list."""
        for step in steps[self._taken :]:
            if label := _platform(step):
                self._platforms[label] = None
            self._stage = max(self._stage, cell_len(f"{step.words.stage} {step.words.number}".strip()))
        self._taken = len(steps)

    def before(self, step: Step, width: int, ellipsis: str) -> list[tuple[str, str]]:
        """The texts and styles that stand before what a step does."""
        platform, stage = self._widths(width)
        number = step.words.number
        parts = []
        if platform:
            parts.append((f"{_padded(_platform(step), platform, ellipsis)}  ", ""))
        if stage:
            name = _cut(step.words.stage, stage - len(number) - 1, ellipsis)
            parts.append((f"{_padded(f'{name} {number}'.strip(), stage, ellipsis)}  ", "dim"))
        return parts

    def indent(self, width: int) -> str:
        """The room that these take."""
        return " " * sum(cells + 2 for cells in self._widths(width) if cells)

    def _widths(self, width: int) -> tuple[int, int]:
        """Cells of the platforms and of the stages; 0 for a column that is not shown."""
        platform = min(_LONGEST_PLATFORM, max(map(cell_len, self._platforms))) if len(self._platforms) > 1 else 0
        return platform, min(self._stage, width // _STAGE_SHARE) if width >= _STAGES_MIN_WIDTH else 0


def _platform(step: Step) -> str:
    platform = step.words.platform or (step.placed.platform if step.placed else "") or step.pool
    return short_platform(platform)


def _cut(text: str, cells: int, ellipsis: str) -> str:
    if cell_len(text) <= max(0, cells):
        return text
    cut = Text(text)
    cut.truncate(max(0, cells - len(ellipsis)), overflow="crop")
    return cut.plain + ellipsis


def _padded(text: str, cells: int, ellipsis: str) -> str:
    text = _cut(text, cells, ellipsis)
    return text + " " * (cells - cell_len(text))


class Pen:
    """Writes lines for a stream of `encoding`: text in it is never wider than asked, nor such as the stream cannot take."""

    def __init__(self, encoding: str) -> None:
        self.glyphs = glyphs_for(encoding)
        self._encoding = encoding

    def row(self, left: Text, right: Text | str, width: int) -> Text:
        """One line: `left` cut to what is left beside `right`. The last column stays empty, since some terminals wrap after it."""
        right = Text(right, "dim") if isinstance(right, str) else right
        limit = max(1, width - 1)
        room = limit - right.cell_len - 2 if right.plain else limit
        if room < min(_MIN_LEFT_CELLS, limit):
            right, room = Text(), limit
        left.plain = left.plain.encode(self._encoding, "replace").decode(self._encoding)
        if left.cell_len > room:
            ellipsis = self.glyphs.ellipsis[:room]
            left.truncate(room - len(ellipsis), overflow="crop")
            left.append(ellipsis)
        if right.plain:
            left.append(" " * (room + 2 - left.cell_len)).append_text(right)
        return left

    def wrapped(self, sign: str, text: str, style: str, width: int, lines: int) -> list[Text]:
        """A sentence behind a sign, in at most `lines` lines."""
        room = max(1, width - 1 - 3)
        parts = textwrap.wrap(short_text(text), room, break_on_hyphens=False) or [""]
        if len(parts) > lines:
            parts = [*parts[: lines - 1], " ".join(parts[lines - 1 :])]
        signs = [f" {sign} ", *["   "] * (len(parts) - 1)]
        return [self.row(Text(before + part, style), "", width) for before, part in zip(signs, parts, strict=True)]

    def log(self, indent: str, line: str, width: int) -> Text:
        """A line of a step's output, with its colours."""
        text = Text(f"   {indent}{self.glyphs.log} ", "dim")
        text.append_text(Text.from_ansi(last_overwrite(line).expandtabs(), style="dim"))
        return self.row(text, "", width)

    def bar(self, done: int, total: int, cells: int) -> Text:
        """A bar of `cells` cells that is `done` of `total` full."""
        full = min(cells, cells * done // total) if total else 0
        return Text.assemble((self.glyphs.full * full, "cyan"), (self.glyphs.empty * (cells - full), "dim"))
