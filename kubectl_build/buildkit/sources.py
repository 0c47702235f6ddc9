"""Where a build's steps stand in the Dockerfile: read from the frontend's LLB, or from the provenance of a build that has ended (pure).

Rules: moby/buildkit v0.31.2 solver/pb/ops.proto (Source, Locations), solver/llbsolver/provenance/types (buildConfig, source).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any

from google.protobuf.message import DecodeError

from kubectl_build.errors import ProtocolError, UsageError
from kubectl_build.model.digest import sha256_digest
from kubectl_build.model.json import JsonObject, parse_json
from kubectl_build.model.observed import BuildSources, SourceFile, StepOrigin
from kubectl_build.model.platform import normalize
from kubectl_build.proto import gateway_pb2, pb_pb2
from kubectl_build.values import dataclass

_LONGEST = 4 << 20
"""Bytes of a source file that are kept."""


@dataclass(slots=True)
class _Collected:
    """Files and steps of several definitions, each file once."""

    files: dict[SourceFile, int] = field(default_factory=dict)
    steps: dict[str, StepOrigin] = field(default_factory=dict)

    def file(self, name: str, data: bytes) -> int:
        text = data[:_LONGEST].decode("utf-8", "replace")
        return self.files.setdefault(SourceFile(name=name or "Dockerfile", text=text), len(self.files))

    def step(self, digest: str, spans: Iterable[tuple[int, int, int]], platform: str, runs_on: str) -> None:
        before = self.steps.get(digest, StepOrigin())
        self.steps[digest] = StepOrigin(
            spans=tuple(dict.fromkeys([*before.spans, *spans])),
            platforms=tuple(dict.fromkeys([*before.platforms, *filter(None, [platform])])),
            runs_on=runs_on or before.runs_on,
        )

    def result(self) -> BuildSources:
        return BuildSources(files=tuple(self.files), steps=self.steps)


def llb_sources(result: gateway_pb2.Result, platforms: Iterable[str]) -> BuildSources:
    """What a frontend's result says of its steps. A lone result is that of the only one of `platforms`. Never raises: what cannot be read
    is left out."""
    found = _Collected()
    refs = dict(result.refs.refs) if result.HasField("refs") else {next(iter(platforms), ""): result.ref}
    for key, ref in refs.items():
        _add_definition(found, getattr(ref, "def"), key)
    return found.result()


def _add_definition(found: _Collected, definition: pb_pb2.Definition, platform: str) -> None:
    numbers = [found.file(info.filename, info.data) for info in definition.Source.infos]
    runs_on = _commands(definition)
    for digest in {*definition.Source.locations, *runs_on}:
        places = definition.Source.locations[digest].locations if digest in definition.Source.locations else ()
        spans = [
            (numbers[place.sourceIndex], span.start.line, max(span.start.line, span.end.line))
            for place in places
            if 0 <= place.sourceIndex < len(numbers)
            for span in place.ranges
        ]
        found.step(digest, spans, platform, runs_on.get(digest, ""))


def _commands(definition: pb_pb2.Definition) -> dict[str, str]:
    """The platforms of the commands, by the digests of their ops."""
    found: dict[str, str] = {}
    blobs: Iterable[bytes] = getattr(definition, "def")
    for blob in blobs:
        try:
            op = pb_pb2.Op.FromString(blob)
        except DecodeError:
            continue
        if op.WhichOneof("op") == "exec" and op.HasField("platform"):
            found[sha256_digest(blob)] = _platform(op.platform.OS, op.platform.Architecture, op.platform.Variant)
    return found


def provenance_sources(statements: Mapping[str, bytes]) -> BuildSources:
    """What the provenance of each platform says of the steps, by platform. Raises ProtocolError for what is no provenance."""
    found = _Collected()
    for platform, data in statements.items():
        try:
            _add_provenance(found, parse_json(data), platform)
        except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
            raise ProtocolError(f"the builder's provenance cannot be read: {error}") from error
    return found.result()


def _add_provenance(found: _Collected, document: JsonObject, platform: str) -> None:
    if "buildDefinition" in document:
        config = document["buildDefinition"].get("internalParameters", {}).get("buildConfig") or {}
        said = document["runDetails"].get("metadata", {}).get("buildkit_metadata") or {}
    else:
        config = document.get("buildConfig") or {}
        said = document.get("metadata", {}).get("https://mobyproject.org/buildkit@v1#metadata") or {}
    source = said.get("source") or {}
    numbers = [found.file(info.get("filename", ""), base64.b64decode(info.get("data") or "")) for info in source.get("infos") or ()]
    locations = source.get("locations") or {}
    runs_on = {step["id"]: _step_platform(step["op"]) for step in config.get("llbDefinition") or ()}
    for digest, name in (config.get("digestMapping") or {}).items():
        spans = [
            (numbers[place.get("sourceIndex", 0)], _line(span, "start"), max(_line(span, "start"), _line(span, "end")))
            for place in (locations.get(name) or {}).get("locations") or ()
            for span in place.get("ranges") or ()
        ]
        found.step(digest, spans, platform, runs_on.get(name, ""))


def _step_platform(op: JsonObject) -> str:
    """The platform of a command, "" of any other step."""
    platform = op.get("platform")
    if not platform or "exec" not in (op.get("Op") or {}):
        return ""
    return _platform(platform.get("OS", ""), platform.get("Architecture", ""), platform.get("Variant", ""))


def _platform(system: str, architecture: str, variant: str) -> str:
    try:
        return str(normalize(system, architecture, variant))
    except UsageError:
        return ""


def _line(span: Mapping[str, Any], end: str) -> int:
    return int((span.get(end) or {}).get("line", 0))
