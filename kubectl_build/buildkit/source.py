"""Which lines of a Dockerfile to show with an error or a warning (pure). The rule is BuildKit's own (solver/errdefs/source.go)."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from kubectl_build.errors import SourceExcerpt

_PAD_ONE_LINE, _PAD = 4, 2


def excerpt(info: Mapping[str, Any], ranges: Sequence[Mapping[str, Any]], *, filename: str = "") -> SourceExcerpt:
    """The lines of `ranges` with some around them, from BuildKit's JSON: pb.SourceInfo and a list of pb.Range.

    Has no lines where the source or the place is not known. `filename` is shown instead of the name that the frontend has.
    """
    name = filename or str(info.get("filename") or "")
    text = base64.b64decode(info.get("data") or "").decode("utf-8", "replace").split("\n")
    spans = [_span(item) for item in ranges]
    first = min((start for start, _ in spans), default=0)
    if not 1 <= first <= len(text):
        return SourceExcerpt(filename=name, lines=())
    last = min(max(end for _, end in spans), len(text))
    start, end = _padded(first, last, len(text))
    marked = {n for a, b in spans for n in range(a, min(b, len(text)) + 1)}
    return SourceExcerpt(filename=name, lines=tuple((n, text[n - 1], n in marked) for n in range(start, end + 1)))


def _span(item: Mapping[str, Any]) -> tuple[int, int]:
    start = int((item.get("start") or {}).get("line", 0))
    return start, max(start, int((item.get("end") or {}).get("line", 0)))


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
