"""What a solve's exporters answered, decoded (pure).

Keys: moby/buildkit exporter/containerimage/exptypes/keys.go. Values are strings; descriptors are JSON in base64.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping

from kubectl_build.errors import ProtocolError
from kubectl_build.model.digest import Descriptor, is_digest
from kubectl_build.model.json import JsonObject, parse_json
from kubectl_build.model.platform import normalize

DIGEST = "containerimage.digest"
CONFIG_DIGEST = "containerimage.config.digest"
DESCRIPTOR = "containerimage.descriptor"
NAME = "image.name"

BUILD_REF = "buildx.build.ref"
"""buildx's own key in its metadata: builder/node/ref."""


def check_digests(response: Mapping[str, str]) -> None:
    """See that what stands for digests are some, or nothing: they are printed and written to files. Raises ProtocolError."""
    for key in (DIGEST, CONFIG_DIGEST):
        if (text := response.get(key)) and not is_digest(text):
            raise ProtocolError(f"the builder answered no digest as {key} but {text[:100]!r}")


def raw_descriptor(response: Mapping[str, str]) -> JsonObject:
    """The descriptor of the image or index that an image exporter made. Raises ProtocolError when there is none."""
    try:
        value = parse_json(base64.b64decode(response[DESCRIPTOR], validate=True))
    except (KeyError, ValueError, binascii.Error) as error:
        raise ProtocolError(f"the builder answered no descriptor for the image ({error})") from error
    if not isinstance(value, dict):
        raise ProtocolError("the builder's descriptor is not a JSON object")
    if not isinstance(value.get("mediaType"), str) or not is_digest(str(value.get("digest"))) or type(value.get("size")) is not int:
        raise ProtocolError("the builder's descriptor lacks a media type, a digest or a size")
    annotations = value.get("annotations") or {}
    if not isinstance(annotations, dict) or not all(isinstance(text, str) for text in annotations.values()):
        raise ProtocolError("the builder's descriptor has annotations that are no texts")
    return value


def parse_descriptor(response: Mapping[str, str]) -> Descriptor:
    """As `raw_descriptor`, as a value."""
    raw = raw_descriptor(response)
    try:
        p = raw.get("platform")
        platform = normalize(p["os"], p["architecture"], p.get("variant", ""), p.get("os.version", "")) if p else None
        return Descriptor(
            media_type=raw["mediaType"],
            digest=raw["digest"],
            size=raw["size"],
            platform=platform,
            annotations=raw.get("annotations") or {},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ProtocolError(f"the builder's descriptor lacks {error}") from error


def encode_descriptor(descriptor: JsonObject) -> str:
    """The form in which an exporter response carries a descriptor."""
    return base64.b64encode(json.dumps(descriptor).encode()).decode()


def decode_response(response: Mapping[str, str]) -> JsonObject:
    """The response as buildx writes it to --metadata-file: values that are base64 of a JSON object are that object."""
    result: JsonObject = {}
    for key, text in response.items():
        result[key] = text
        try:
            value = parse_json(base64.b64decode(text, validate=True))
        except (ValueError, binascii.Error):
            continue
        if isinstance(value, dict) and value:
            result[key] = value
    return result
