"""What `imagetools inspect` prints, as `docker buildx imagetools inspect` does (v0.35.0, util/imagetools/printers.go). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kubectl_build.cli.go_template import render
from kubectl_build.model.json import JsonObject
from kubectl_build.progress.escape import clean_line
from kubectl_build.registry import gojson
from kubectl_build.registry.inspect import Details, Inspected

_WHOLE_MANIFEST = re.compile(r"\s*\{\{\s*\.Manifest\s*\}\}\s*")


def is_default(template: str) -> bool:
    """Whether `template` asks for what is printed without one."""
    return not template or _WHOLE_MANIFEST.fullmatch(template) is not None


def description(inspected: Inspected) -> str:
    """The name, type and digest, and each manifest of an index with its platform; ends with a newline."""
    facts = [("Name:", str(inspected.reference)), ("MediaType:", inspected.media_type), ("Digest:", inspected.digest)]
    text = _aligned(facts)
    if inspected.is_index:
        text += _aligned([("", ""), ("Manifests:", "")])
        text += _manifests(inspected)
    return text


def _manifests(inspected: Inspected) -> str:
    text = ""
    rows: list[tuple[str, str]] = []
    for number, entry in enumerate(inspected.document.get("manifests") or ()):
        if number:
            rows.append(("", ""))
        rows.append(("  Name:", str(replace(inspected.reference, digest=entry["digest"]))))
        rows.append(("  MediaType:", str(entry.get("mediaType") or "")))
        platform = entry.get("platform")
        if platform is None:
            continue
        rows.append(("  Platform:", _platform_name(platform)))
        for label, value in (
            ("  OSVersion:", platform.get("os.version")),
            ("  OSFeatures:", ", ".join(platform.get("os.features") or ())),
            ("  URLs:", ", ".join(entry.get("urls") or ())),
        ):
            if value:
                rows.append((label, str(value)))
        if entry.get("annotations"):
            text += _aligned([*rows, ("  Annotations:", "")])
            text += _aligned([(f"    {name}:", str(value)) for name, value in sorted(entry["annotations"].items())])
            rows = []
    return text + _aligned(rows)


def _platform_name(platform: JsonObject) -> str:
    if not platform.get("os"):
        return "unknown"
    return "/".join(str(platform[key]) for key in ("os", "architecture", "variant") if platform.get(key))


def _aligned(rows: Sequence[tuple[str, str]]) -> str:
    """Two columns as Go's tabwriter pads them: the first to its widest cell and one blank, in empty lines too."""
    width = max((len(label) for label, _ in rows), default=0) + 1
    return "".join(f"{clean_line(label):<{width}}{clean_line(value)}\n" for label, value in rows)


def formatted(template: str, name: str, inspected: Inspected, details: Details) -> str:
    """What `template` says of an image that the user called `name`. Raises UsageError for what is not understood of Go's templates."""
    fields = _fields(name, inspected, details)
    shown = {"name": fields["Name"], "manifest": fields["Manifest"], "image": fields["Image"]}
    # "{{json .}}" gives the fields that have names in JSON, and the five are asked for by Go's names.
    whole = {key: value for key, value in shown.items() if value}
    return render(template, _Root(whole, fields))


class _Root(dict[str, Any]):
    """What "." is: as JSON these fields, by name those of `fields`."""

    def __init__(self, whole: JsonObject, fields: JsonObject) -> None:
        super().__init__(whole)
        self._fields = fields

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]


def document(name: str, inspected: Inspected, details: Details) -> JsonObject:
    """All there is, for `-o json`."""
    return {field.lower(): value for field, value in _fields(name, inspected, details).items()}


def _fields(name: str, inspected: Inspected, details: Details) -> JsonObject:
    images = {platform: gojson.image(config) for platform, config in sorted(details.images.items())}
    provenance = {platform: {"SLSA": _ordered(found)} for platform, found in sorted(details.provenance.items())}
    sbom = {platform: _sbom(found) for platform, found in sorted(details.sbom.items())}
    several = len(images) > 1
    return {
        "Name": name,
        "Manifest": _manifest(inspected),
        "Image": images if several else next(iter(images.values()), None),
        "Provenance": provenance if several else next(iter(provenance.values()), {}),
        "SBOM": sbom if several else next(iter(sbom.values()), {}),
    }


def _manifest(inspected: Inspected) -> JsonObject:
    own: JsonObject = {"mediaType": inspected.media_type, "digest": inspected.digest, "size": len(inspected.data)}
    if not inspected.is_index:
        return own
    every = {**gojson.index(inspected.document), "digest": inspected.digest, "size": len(inspected.data)}
    order = ("schemaVersion", "mediaType", "digest", "size", "manifests", "annotations")
    return {name: every[name] for name in order if name in every}


def _sbom(found: Sequence[JsonObject]) -> JsonObject:
    first, *others = map(_ordered, found)
    return {"SPDX": first, **({"AdditionalSPDXs": others} if others else {})}


def _ordered(value: Any) -> Any:
    """A document without a schema, as Go writes it: the names of every object in order."""
    if isinstance(value, dict):
        return {name: _ordered(item) for name, item in sorted(value.items())}
    return [_ordered(item) for item in value] if isinstance(value, list) else value
