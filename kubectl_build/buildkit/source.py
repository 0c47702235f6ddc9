"""Places in a Dockerfile as BuildKit's JSON has them: pb.SourceInfo and a list of pb.Range (pure)."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from kubectl_build.errors import SourceExcerpt
from kubectl_build.model.source import excerpt


def json_excerpt(info: Mapping[str, Any], ranges: Sequence[Mapping[str, Any]], *, filename: str = "") -> SourceExcerpt:
    """What to show of a place. It has no lines where the source or the place is not known; `filename` goes before the frontend's."""
    spans = [(_line(item, "start"), _line(item, "end")) for item in ranges]
    return excerpt(filename or str(info.get("filename") or ""), base64.b64decode(info.get("data") or ""), spans)


def _line(item: Mapping[str, Any], end: str) -> int:
    return int((item.get(end) or {}).get("line", 0))
