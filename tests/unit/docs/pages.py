"""Reading the documentation: its pages, their links and headings, and the commands in them.

A fenced `sh` block is run by tests/e2e/test_docs.py when the comment `<!-- run -->` stands before it. The block after
`<!-- shows -->` has what the commands before it print: lines in their order, where `…` stands for anything, and other lines may be
between them. `<!-- not run: REASON -->` says why a block cannot be run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"

_COMMENT = re.compile(r"<!-- (run|shows|not run: .+) -->")
_LINK = re.compile(r"\]\(<?([^)\s>]+)>?\)|(?:href|src|srcset)=\"([^\"]+)\"")
_CODE = re.compile(r"`[^`\n]*`")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: where it begins, its language, the comment on the line before it ("" for none), and its text."""

    page: Path
    line: int
    language: str
    comment: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Every page: README.md and all below docs/."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in their order; also those indented in lists."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start: tuple[int, str, str, int] | None = None
    for number, line in enumerate(lines, start=1):
        fence = re.match(r"( *)```(\w*)", line)
        if fence is None:
            continue
        if start is None:
            comment = _COMMENT.fullmatch(lines[number - 2].strip()) if number > 1 else None
            start = (number, fence.group(2), comment.group(1) if comment else "", len(fence.group(1)))
            continue
        begun, language, comment_text, indent = start
        text = "\n".join(part[indent:] for part in lines[begun : number - 1])
        yield Block(page, begun, language, comment_text, text)
        start = None
    assert start is None, f"{page}: the block that begins on line {start[0]} does not end"


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"(?ms)^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    """Every target that the page's prose links to, code spans left out."""
    return [first or second for first, second in _LINK.findall(_CODE.sub("", prose(page)))]


def headings(page: Path) -> list[str]:
    """The texts of all headings."""
    return [match.group(1).strip() for match in re.finditer(r"(?m)^#{1,6} (.+)$", prose(page))]


def anchors(page: Path) -> set[str]:
    """The fragments that GitHub gives a page's headings."""
    found: set[str] = set()
    for heading in headings(page):
        name = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        found.add(next(free for count in range(100) if (free := f"{name}-{count}" if count else name) not in found))
    return found


def commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Each `kubectl build` and `kubectl buildkit VERB` that the page prints, with its long flags."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for match in re.finditer(r"(?<!\w )(?<![-=/])kubectl[ -](build(?:kit(?: [a-z]+)+)?)\b([^`\n|;&#>]*)", text):
        yield match.group(1), re.findall(r"(?<![\w-])--[a-z][a-z-]*", match.group(2))
