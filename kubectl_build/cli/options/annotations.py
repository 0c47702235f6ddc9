"""--annotation. Rules: docker/buildx util/buildflags/export.go, ParseAnnotations (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kubectl_build.errors import UsageError
from kubectl_build.model.platform import Platform, parse_platform
from kubectl_build.model.request import Annotation

_KIND = re.compile(r"([a-z-]+)(?:\[([A-Za-z0-9_/-]+)\])?")
_KINDS = ("manifest", "index", "manifest-descriptor", "index-descriptor")
DEFAULT_KIND = "manifest"


def parse_annotations(texts: Iterable[str]) -> tuple[Annotation, ...]:
    """Parse `[KIND[,KIND...]:]KEY=VALUE`, KIND with an optional [PLATFORM]; of equal kind, platform and key the last counts.

    Raises UsageError.
    """
    result: dict[tuple[str, Platform | None, str], Annotation] = {}
    for text in texts:
        if not text:
            continue
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f'invalid annotation "{text}", expected key=value')
        kinds, colon, key = name.partition(":")
        if not colon:
            kinds, key = DEFAULT_KIND, name
        if not key:
            raise UsageError(f'invalid annotation "{text}": it has no key', hint="write --annotation KEY=VALUE or index:KEY=VALUE")
        for word in kinds.split(","):
            kind, platform = _parse_kind(word)
            result[kind, platform, key] = Annotation(kind=kind, key=key, value=value, platform=platform)
    return tuple(result.values())


def _parse_kind(word: str) -> tuple[str, Platform | None]:
    match = _KIND.fullmatch(word)
    if match is None:
        raise UsageError(f'invalid annotation type "{word}", expected type and optional platform in square brackets')
    kind, platform = match.groups()
    if kind not in _KINDS:
        raise UsageError(f'unknown annotation type "{kind}"', hint=f"types are {', '.join(_KINDS)}")
    return kind, parse_platform(platform) if platform else None
