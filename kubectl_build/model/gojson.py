"""JSON as Go's encoding/json writes it, for documents whose bytes others compare or hash."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kubectl_build.model.json import JsonObject

OMITTED: Final = object()
"""In a table of a Go struct's fields: the field is not written when it is empty. Any other value is what is written then."""

PLATFORM: Final[Mapping[str, object]] = {"architecture": "", "os": "", "os.version": OMITTED, "os.features": OMITTED, "variant": OMITTED}
DESCRIPTOR: Final[Mapping[str, object]] = {
    "mediaType": "",
    "digest": "",
    "size": 0,
    "urls": OMITTED,
    "annotations": OMITTED,
    "data": OMITTED,
    "platform": OMITTED,
    "artifactType": OMITTED,
}
"""The fields of ocispec.Platform and ocispec.Descriptor (image-spec v1.1.1), in their order."""

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
    ordered = dict(_fields(descriptor, DESCRIPTOR))
    if "platform" in ordered:
        ordered["platform"] = dict(_fields(ordered["platform"], PLATFORM))
    if "annotations" in ordered:
        ordered["annotations"] = dict(sorted(ordered["annotations"].items()))
    return ordered


def _escape(text: str) -> bytes:
    return _LONE_SURROGATE.sub("\ufffd", text.translate(_ESCAPES)).encode()


def _fields(value: JsonObject, table: Mapping[str, object]) -> Iterator[tuple[str, Any]]:
    for name, empty in table.items():
        if empty is not OMITTED or value.get(name):
            yield name, value[name]
    for name in value.keys() - table.keys():
        yield name, value[name]
