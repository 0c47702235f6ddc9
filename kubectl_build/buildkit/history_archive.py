"""Builds of a history as an archive: a gzipped tar with an OCI layout, as `docker buildx history export` writes it (.dockerbuild).

Each build is a manifest whose config is its record in JSON and whose layers are the record's blobs (docker/buildx util/desktop/bundle,
v0.35.0). Traces are left out: they hold command lines and addresses of the daemon.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from google.protobuf.message import Message

from kubectl_build.buildkit.client import BuildkitClient
from kubectl_build.buildkit.histories import HistoryRecord, blobs
from kubectl_build.model.digest import MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST, sha256_digest
from kubectl_build.model.json import JsonObject, parse_json
from kubectl_build.proto import control_pb2
from kubectl_build.values import dataclass

_RECORD = "application/vnd.buildkit.historyrecord.v0"
_ORIGINAL_TYPE = "vnd.export-build.descriptor.mediatype"
_REFERENCE = "vnd.buildkit.history.reference"
_CACHE_ATTRS = ("scope", "ref")
"""What of a cache import is kept: the rest may be a login."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedBuild:
    """A build with its blobs by digest. `platform` is the daemon's own."""

    record: HistoryRecord
    platform: str
    blobs: Mapping[str, bytes]


async def read_build(client: BuildkitClient, record: HistoryRecord, platform: str) -> ArchivedBuild:
    """Read all blobs of a record from its daemon. Raises ConnectionLost."""
    contents = {item.digest: await client.read_content(item.digest) for item in blobs(record.message)}
    return ArchivedBuild(record=record, platform=platform, blobs=contents)


def write_archive(builds: Sequence[ArchivedBuild], target: BinaryIO) -> None:
    """Write the archive. Blocking."""
    stored: dict[str, bytes] = {}
    descriptors = [_stored_build(build, stored) for build in builds]
    if len(descriptors) == 1:
        top = descriptors[0]
    else:
        marked = [{**item, "annotations": {_REFERENCE: build.record.ref}} for item, build in zip(descriptors, builds, strict=True)]
        top = _stored({"schemaVersion": 2, "mediaType": MEDIA_TYPE_INDEX, "manifests": marked}, MEDIA_TYPE_INDEX, stored)
    files = {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json({"schemaVersion": 2, "manifests": [top]}),
        **{f"blobs/{digest.replace(':', '/', 1)}": data for digest, data in sorted(stored.items())},
    }
    with gzip.GzipFile(fileobj=target, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o444
            tar.addfile(entry, io.BytesIO(data))


def _stored_build(build: ArchivedBuild, stored: dict[str, bytes]) -> JsonObject:
    stored.update(build.blobs)
    message = control_pb2.BuildHistoryRecord()
    message.CopyFrom(build.record.message)
    message.ClearField("trace")
    if "cache-imports" in message.FrontendAttrs:
        message.FrontendAttrs["cache-imports"] = _without_logins(message.FrontendAttrs["cache-imports"])
    config = _stored({**_go_document(message), "DefaultPlatform": build.platform}, _RECORD, stored)
    results = {item.digest for result in (message.Result, *message.Results.values()) for item in result.Results.values()}
    layers = [_layer(item, result=item.digest in results) for item in blobs(message)]
    return _stored({"schemaVersion": 2, "mediaType": MEDIA_TYPE_MANIFEST, "config": config, "layers": layers}, MEDIA_TYPE_MANIFEST, stored)


def _layer(item: control_pb2.Descriptor, *, result: bool) -> JsonObject:
    annotations = dict(item.annotations)
    media_type = item.media_type
    if result:  # a reader would walk the children of an index, which are not here
        annotations[_ORIGINAL_TYPE], media_type = media_type, "application/json"
    layer: JsonObject = {"mediaType": media_type, "digest": item.digest, "size": item.size}
    return {**layer, "annotations": annotations} if annotations else layer


def _without_logins(text: str) -> str:
    try:
        entries = parse_json(text)
        kept = [{**entry, "Attrs": {k: v for k, v in entry["Attrs"].items() if k in _CACHE_ATTRS}} for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return json.dumps(kept, separators=(",", ":"))


def _go_document(message: Message) -> JsonObject:
    """A message as Go's encoding/json writes its struct: the schema's names, numbers as numbers, nothing that is empty."""
    return {field.name: _go_value(field, value) for field, value in message.ListFields()}


def _go_value(field: Any, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return {str(key): _go_item(value[key]) for key in sorted(value)}
    return [_go_item(item) for item in value] if field.is_repeated else _go_item(value)


def _go_item(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return _go_document(value) if isinstance(value, Message) else value


def _stored(document: JsonObject, media_type: str, stored: dict[str, bytes]) -> JsonObject:
    data = _json(document)
    digest = sha256_digest(data)
    stored[digest] = data
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def _json(document: JsonObject) -> bytes:
    return json.dumps(document, indent=2).encode()
