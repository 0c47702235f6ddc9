"""Documents of the image specification (v1.1.1) as Go's structs write them: fields in their order, empty ones left out, others dropped.

`docker buildx imagetools` reads documents into these structs and writes them again; to answer the same bytes we do what they do. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from kubectl_build.model.gojson import DESCRIPTOR, OMITTED, PLATFORM
from kubectl_build.model.json import JsonObject

_INDEX = {
    "schemaVersion": 0,
    "mediaType": OMITTED,
    "artifactType": OMITTED,
    "manifests": None,
    "subject": OMITTED,
    "annotations": OMITTED,
}
_CONFIG = dict.fromkeys(
    (
        "User",
        "ExposedPorts",
        "Env",
        "Entrypoint",
        "Cmd",
        "Volumes",
        "WorkingDir",
        "Labels",
        "StopSignal",
        "ArgsEscaped",
    ),
    OMITTED,
)
_ROOTFS = {"type": "", "diff_ids": None}
_IMAGE = {"created": OMITTED, "author": OMITTED, **PLATFORM, "config": {}, "rootfs": _ROOTFS, "history": OMITTED}
_HISTORY = dict.fromkeys(("created", "created_by", "author", "comment", "empty_layer"), OMITTED)

_POINTERS = frozenset({"platform", "subject"})
"""Fields that are written when they are there, however empty."""

_ZEROS = re.compile(r"(\.\d*?)0+(?=[Zz+-])")


def index(value: JsonObject) -> JsonObject:
    """An index or manifest list."""
    return _struct(value, _INDEX, {"manifests": _each(descriptor), "subject": descriptor, "annotations": _sorted})


def descriptor(value: JsonObject) -> JsonObject:
    """A descriptor."""
    return _struct(value, DESCRIPTOR, {"annotations": _sorted, "platform": platform})


def platform(value: JsonObject) -> JsonObject:
    """A platform."""
    return _struct(value, PLATFORM, {})


def image(value: JsonObject) -> JsonObject:
    """An image's config. What Docker adds to the specification's fields (Healthcheck, OnBuild) is dropped too."""
    return _struct(value, _IMAGE, {"created": _time, "config": _config, "rootfs": _rootfs, "history": _each(_history)})


def _config(value: JsonObject) -> JsonObject:
    return _struct(value, _CONFIG, {"ExposedPorts": _sorted, "Volumes": _sorted, "Labels": _sorted})


def _rootfs(value: JsonObject) -> JsonObject:
    return _struct(value, _ROOTFS, {})


def _history(value: JsonObject) -> JsonObject:
    return _struct(value, _HISTORY, {"created": _time})


def _struct(value: JsonObject, fields: Mapping[str, Any], parts: Mapping[str, Callable[[Any], Any]]) -> JsonObject:
    result: JsonObject = {}
    for name, empty in fields.items():
        item = value.get(name)
        if item is not None and name in parts:
            item = parts[name](item)
        if item or (item is not None and name in _POINTERS):
            result[name] = item
        elif empty is not OMITTED:
            result[name] = item if item is not None else empty
    return result


def _each(part: Callable[[JsonObject], JsonObject]) -> Callable[[list[JsonObject]], list[JsonObject]]:
    return lambda items: [part(item) for item in items]


def _sorted(value: Mapping[str, Any]) -> JsonObject:
    return dict(sorted(value.items()))


def _time(text: str) -> str:
    """A time as Go prints it: without zeros at the end of its fraction."""
    return _ZEROS.sub(lambda match: "" if match.group(1) == "." else match.group(1), text)
