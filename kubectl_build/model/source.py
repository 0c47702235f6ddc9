"""Which lines of a Dockerfile are shown with an error or a warning, and how. The rules are BuildKit's own (solver/errdefs/source.go)."""

from __future__ import annotations

from collections.abc import Sequence

from kubectl_build.errors import SourceExcerpt

_PAD_ONE_LINE, _PAD = 4, 2


def excerpt(filename: str, data: bytes, spans: Sequence[tuple[int, int]]) -> SourceExcerpt:
    """The lines of `spans` (first and last line, from 1) with some around them. It has no lines where the place is not in the file."""
    text = data.decode("utf-8", "replace").split("\n")
    spans = [(first, max(first, last)) for first, last in spans]
    first = min((start for start, _ in spans), default=0)
    if not 1 <= first <= len(text):
        return SourceExcerpt(filename=filename, lines=())
    last = min(max(end for _, end in spans), len(text))
    start, end = _padded(first, last, len(text))
    marked: set[int] = set()
    seen = 0
    for a, b in sorted(spans):  # each line once, however many spans there are
        marked.update(range(max(a, seen + 1), min(b, len(text)) + 1))
        seen = max(seen, b)
    return SourceExcerpt(filename=filename, lines=tuple((n, text[n - 1], n in marked) for n in range(start, end + 1)))


def excerpt_lines(source: SourceExcerpt) -> list[str]:
    """An excerpt for people; nothing for one without lines."""
    if not source.lines:
        return []
    first = next((number for number, _, marked in source.lines if marked), source.lines[0][0])
    body = [f" {number:3d} | {'>>>' if marked else '   '} {text}" for number, text, marked in source.lines]
    return [f"{source.filename}:{first}", "-" * 20, *body, "-" * 20]


def _padded(start: int, end: int, count: int) -> tuple[int, int]:
    """Widen by some lines on both sides; what one side has no lines for goes to the other, in part."""
    wanted, added = _PAD_ONE_LINE if start == end else _PAD, 0
    while added < wanted:
        if start > 1:
            start, added = start - 1, added + 1
        if end != count:
            end, added = end + 1, added + 1
        added += 1
    return start, end
