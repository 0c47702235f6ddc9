"""JSON as Go's encoding/json writes it, for documents whose bytes others compare or hash."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kubectl_build.model.json import JsonObject

# Fields of ocispec.Descriptor and ocispec.Platform (image-spec v1.1.1) in their order; those with True are written when empty too.
_DESCRIPTOR_FIELDS = {
    "mediaType": True,
    "digest": True,
    "size": True,
    "urls": False,
    "annotations": False,
    "data": False,
    "platform": False,
    "artifactType": False,
}
_PLATFORM_FIELDS = {"architecture": True, "os": True, "os.version": False, "os.features": False, "variant": False}

# encoding/json escapes these in strings, so that JSON can stand in HTML and in JavaScript.
_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def marshal(value: JsonObject) -> bytes:
    """Return `value` as json.Marshal writes it: no blanks, keys in the order they have here."""
    return _escape(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


def marshal_indent(value: JsonObject) -> bytes:
    """Return `value` as json.MarshalIndent(value, "", "  ") writes it: keys in the order they have here, no final newline."""
    return _escape(json.dumps(value, indent=2, ensure_ascii=False))


def ordered_descriptor(descriptor: JsonObject) -> JsonObject:
    """A copy in the order of Go's struct. A field that the struct does not have is kept, last: nothing that was said is lost."""
    ordered = dict(_fields(descriptor, _DESCRIPTOR_FIELDS))
    if "platform" in ordered:
        ordered["platform"] = dict(_fields(ordered["platform"], _PLATFORM_FIELDS))
    if "annotations" in ordered:
        ordered["annotations"] = dict(sorted(ordered["annotations"].items()))
    return ordered


def _escape(text: str) -> bytes:
    return _LONE_SURROGATE.sub("\ufffd", text.translate(_ESCAPES)).encode()


def _fields(value: JsonObject, order: Mapping[str, bool]) -> Iterator[tuple[str, Any]]:
    for name, always in order.items():
        if always or value.get(name):
            yield name, value[name]
    for name in value.keys() - order.keys():
        yield name, value[name]
