"""What `imagetools create` is given to join: references, digests and descriptors, and the images that they name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace

from kubectl_build.errors import RegistryError, UsageError
from kubectl_build.model.digest import IMAGE_TYPES, INDEX_TYPES, MEDIA_TYPE_DOCKER_LIST, MEDIA_TYPE_DOCKER_MANIFEST, is_digest
from kubectl_build.model.json import JsonObject, parse_json
from kubectl_build.model.platform import normalize
from kubectl_build.model.reference import Reference, parse_reference
from kubectl_build.registry.combine import Source
from kubectl_build.registry.pool import Place, Registries
from kubectl_build.values import dataclass

CONFIG_LIMIT = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A source as it was written: a reference, or (`reference` None) a descriptor that may be no more than a digest."""

    text: str
    reference: Reference | None = None
    descriptor: JsonObject = field(default_factory=dict)


def parse_source(text: str) -> Named:
    """Read a digest, a reference or a descriptor in JSON. Raises UsageError."""
    text = text.strip()
    if text.startswith("{"):
        return Named(text=text, descriptor=_descriptor(text))
    if is_digest(text):
        return Named(text=text, descriptor={"digest": text})
    if text.startswith("sha256:"):
        raise UsageError(f'source "{text}" is not a digest: sha256: is followed by 64 hexadecimal digits')
    if text.startswith("oci-layout://"):
        raise UsageError(f'source "{text}" is a directory: only images in registries can be joined')
    return Named(text=text, reference=parse_reference(text))


def _descriptor(text: str) -> JsonObject:
    try:
        value = parse_json(text)
    except ValueError as exc:
        raise UsageError(f"a source's descriptor is not valid JSON: {exc}") from exc
    if not isinstance(value, dict) or not is_digest(str(value.get("digest", ""))):
        raise UsageError(
            f"source '{text}': the descriptor has no digest", hint='it is like {"digest": "sha256:...", "mediaType": "...", "size": 123}'
        )
    return value


def in_repository(named: Sequence[Named], tags: Sequence[Reference]) -> list[Named]:
    """Give each source without a repository the one that all others and the tags share. Raises UsageError when there is not one."""
    known = [source.reference for source in named if source.reference] + list(tags)
    shared = {reference.repository for reference in known}
    result = []
    for source in named:
        if source.reference is None and len(shared) != 1:
            why = "there is none" if not shared else f"there are several: {', '.join(sorted(shared))}"
            raise UsageError(f"which repository {source.text} is in cannot be told from the tags and other sources: {why}")
        digest = source.descriptor.get("digest", "")
        result.append(source if source.reference else replace(source, reference=replace(known[0], tag="", digest=digest)))
    return result


async def load_source(registries: Registries, named: Named) -> Source:
    """Get what a source names. Raises RegistryError, and UsageError for what cannot be part of an index."""
    assert named.reference is not None, "in_repository gives every source one"
    place = await registries.place(named.reference)
    data, media_type, digest = await place.client.get_manifest(place.repository, named.reference.digest or named.reference.tag)
    given = named.descriptor
    if given.get("size") and given["size"] != len(data):
        raise UsageError(f"the descriptor of {digest} says {given['size']} bytes, and it has {len(data)}")
    descriptor: JsonObject = {
        "mediaType": given.get("mediaType") or media_type or _guessed(data),
        "digest": named.reference.digest or digest,
        "size": len(data),
    }
    if given.get("annotations"):
        descriptor["annotations"] = given["annotations"]
    if descriptor["mediaType"] in IMAGE_TYPES:
        descriptor["platform"] = await _platform(place, data, given.get("platform") or {})
    elif descriptor["mediaType"] not in INDEX_TYPES:
        raise UsageError(f"{named.reference} is neither an image nor an index, but {descriptor['mediaType']}")
    return Source(reference=named.reference, descriptor=descriptor, data=data)


def _guessed(data: bytes) -> str:
    """The media type of a manifest that neither says it itself nor came with one (buildx, util/imagetools/create.go, detectMediaType)."""
    try:
        document = parse_json(data)
        return str(document.get("mediaType") or (MEDIA_TYPE_DOCKER_MANIFEST if document.get("config") else MEDIA_TYPE_DOCKER_LIST))
    except (ValueError, AttributeError) as exc:
        raise RegistryError(f"a manifest is malformed: {exc!r}") from exc


async def _platform(place: Place, data: bytes, given: JsonObject) -> JsonObject:
    """The platform of an image: as given, and what is missing there from its config."""
    if given.get("os") and given.get("architecture"):
        return given
    config = await read_config(place, data)
    made = normalize(*(str(config.get(name) or "") for name in ("os", "architecture", "variant")))
    result = dict(given)
    if not result.get("architecture"):
        result["architecture"] = made.architecture
        if not result.get("variant") and made.variant:
            result["variant"] = made.variant
    if not result.get("os"):
        result["os"] = made.os
    return result


async def read_config(place: Place, manifest: bytes) -> JsonObject:
    """The config of an image, whose manifest is given. Raises RegistryError."""
    try:
        digest = parse_json(manifest)["config"]["digest"]
        if not is_digest(digest):
            raise ValueError(f"{digest} is not a digest")
        config = parse_json(await place.client.blobs.read(place.repository, digest, limit=CONFIG_LIMIT))
        if not isinstance(config, dict):
            raise ValueError("the config is no object")
    except (ValueError, KeyError, TypeError) as exc:
        raise RegistryError(f"an image of {place} is malformed: {exc!r}") from exc
    return config
