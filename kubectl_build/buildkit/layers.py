"""What the images of a build are made of: layers with their sizes, from the daemon's content store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kubectl_build.buildkit.client import BuildkitClient
from kubectl_build.errors import ProtocolError, UsageError
from kubectl_build.model.digest import IMAGE_TYPES, INDEX_TYPES, Descriptor
from kubectl_build.model.json import JsonObject, parse_json
from kubectl_build.model.observed import ImageLayer
from kubectl_build.model.platform import normalize

_ATTESTATION = "vnd.docker.reference.type"


async def read_layers(client: BuildkitClient, tops: Sequence[Descriptor]) -> dict[str, tuple[ImageLayer, ...]]:
    """The layers by platform of images and indexes. Raises ConnectionLost, ProtocolError for what cannot be read."""
    found: dict[str, tuple[ImageLayer, ...]] = {}
    try:
        for top in tops:
            for manifest in await _manifests(client, top):
                platform, layers = await _image(client, manifest)
                found.setdefault(platform, layers)
    except (ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
        raise ProtocolError(f"a manifest in the builder's content store cannot be read: {error}") from error
    return found


async def _manifests(client: BuildkitClient, top: Descriptor) -> list[str]:
    if top.media_type in IMAGE_TYPES:
        return [top.digest]
    if top.media_type not in INDEX_TYPES:
        return []
    entries = parse_json(await client.read_content(top.digest))["manifests"]
    return [
        entry["digest"] for entry in entries if _ATTESTATION not in (entry.get("annotations") or {}) and entry["mediaType"] in IMAGE_TYPES
    ]


async def _image(client: BuildkitClient, digest: str) -> tuple[str, tuple[ImageLayer, ...]]:
    manifest = parse_json(await client.read_content(digest))
    config = parse_json(await client.read_content(manifest["config"]["digest"]))
    platform = normalize(config["os"], config["architecture"], config.get("variant") or "")
    made_by = [str(entry.get("created_by") or "") for entry in _history(config) if not entry.get("empty_layer")]
    layers = tuple(
        ImageLayer(digest=str(layer["digest"]), size=int(layer["size"]), made_by=made_by[number] if number < len(made_by) else "")
        for number, layer in enumerate(manifest["layers"])
    )
    return str(platform), layers


def _history(config: JsonObject) -> Sequence[Mapping[str, object]]:
    return config.get("history") or ()
