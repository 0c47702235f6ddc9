"""Annotations as attributes of an exporter (pure).

Their form is annotation[-KIND][[PLATFORM]].KEY: moby/buildkit v0.31.2 exporter/containerimage/exptypes/annotations.go. A user gives them by
--annotation for every output, or in the attributes of one output.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from kubectl_build.errors import UsageError
from kubectl_build.model.platform import Platform, parse_platform
from kubectl_build.model.request import Annotation

_ATTRIBUTE = re.compile(r"annotation(?:-[a-z-]+)?\[([A-Za-z0-9_/-]+)\]\.\S+", re.ASCII)


def annotation_attrs(annotations: Iterable[Annotation]) -> dict[str, str]:
    """The attributes for `annotations`; of two for the same the last counts. An index has no platform, nor have its annotations."""
    return {_name(annotation): annotation.value for annotation in annotations}


def without_platforms(attrs: Mapping[str, str], elsewhere: Iterable[Platform]) -> dict[str, str]:
    """`attrs` without the annotations for the platforms `elsewhere`: a daemon refuses an annotation for what it does not build."""
    others = frozenset(elsewhere)
    return {name: value for name, value in attrs.items() if _platform(name) not in others}


def _name(annotation: Annotation) -> str:
    if annotation.kind.startswith("index"):
        return f"annotation-{annotation.kind}.{annotation.key}"
    if annotation.platform is not None:
        return f"annotation-{annotation.kind}[{annotation.platform.full_name}].{annotation.key}"
    kind = "" if annotation.kind == "manifest" else f"-{annotation.kind}"
    return f"annotation{kind}.{annotation.key}"


def _platform(name: str) -> Platform | None:
    """The platform that the attribute `name` is for; None for attributes that are for all, and for what only the daemon can refuse."""
    found = _ATTRIBUTE.fullmatch(name)
    if found is None:
        return None
    try:
        return parse_platform(found.group(1))
    except UsageError:
        return None
