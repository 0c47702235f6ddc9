"""Merges what several daemons made into the index that one daemon would have written, byte for byte. Pure.

Follows moby/buildkit v0.31.2, exporter/containerimage/writer.go (Commit): an ocispec.Index in the order of Go's struct fields, written
by json.MarshalIndent with two spaces; images in the order of the platforms, then the attestation manifests in the same order.
A test compares the bytes with what Go makes of them, another one with a real daemon's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from kubectl_build.errors import ProtocolError
from kubectl_build.model.digest import (
    MEDIA_TYPE_DOCKER_LIST,
    MEDIA_TYPE_DOCKER_MANIFEST,
    MEDIA_TYPE_INDEX,
    Descriptor,
    sha256_digest,
)
from kubectl_build.model.gojson import marshal_indent, ordered_descriptor
from kubectl_build.model.json import JsonObject, parse_json
from kubectl_build.model.platform import Platform, normalize
from kubectl_build.values import dataclass

_REFERENCE_TYPE = "vnd.docker.reference.type"
_REFERENCE_DIGEST = "vnd.docker.reference.digest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """What one pool's image exporter answered.

    `raw_descriptor` is the JSON of its containerimage.descriptor and `descriptor` the same as a value; `index` is the index's own bytes
    when the descriptor is that of an index, else None.
    """

    descriptor: Descriptor
    raw_descriptor: JsonObject
    index: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexDocument:
    """An index as it is written to a registry. `digest` is that of `data`; `annotations` are those of its descriptor, not in `data`."""

    media_type: str
    data: bytes
    digest: str
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def descriptor(self) -> JsonObject:
        """The descriptor that one daemon would have answered for it, in the order of Go's struct."""
        found: JsonObject = {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data)}
        if self.annotations:
            found["annotations"] = dict(sorted(self.annotations.items()))
        return found


@dataclass(slots=True)
class _Image:
    """A manifest of one platform with the attestation manifests that point at it."""

    manifest: JsonObject
    attestations: list[JsonObject]


def merge_index(platforms: Sequence[Platform], children: Sequence[Child]) -> IndexDocument:
    """Return the one index of `children` with the images in the order of `platforms`.

    The index is a Docker manifest list when all that goes in is of Docker's types, else an OCI index; annotations are those that the
    children's indexes have, and its descriptor's those that their descriptors have. Raises ProtocolError when the children are not what was
    asked for: a platform that is missing, is there twice or was not requested, an attestation for no image, bytes that do not have the
    descriptor's digest.
    """
    images: list[_Image] = []
    annotations: dict[str, str] = {}
    for child in children:
        manifests, child_annotations = _open(child)
        images += _group(manifests)
        annotations.update(child_annotations)
    ordered = [_take(platform, images) for platform in platforms]
    if images:
        raise ProtocolError(f"the builder made an image for {_platform_of(images[0].manifest)}, which was not requested")
    manifests = [image.manifest for image in ordered] + [entry for image in ordered for entry in image.attestations]
    document: JsonObject = {
        "schemaVersion": 2,
        "mediaType": _media_type(children, manifests),
        "manifests": [ordered_descriptor(manifest) for manifest in manifests],
    }
    if annotations:
        document["annotations"] = dict(sorted(annotations.items()))
    data = marshal_indent(document)
    described = {key: value for child in children if child.descriptor.is_index for key, value in child.descriptor.annotations.items()}
    return IndexDocument(media_type=document["mediaType"], data=data, digest=sha256_digest(data), annotations=described)


def _open(child: Child) -> tuple[list[JsonObject], Mapping[str, str]]:
    """The manifests that a child brings, and the annotations of its index."""
    if not child.descriptor.is_index:
        return [child.raw_descriptor], {}
    digest = child.descriptor.digest
    if child.index is None or sha256_digest(child.index) != digest:
        raise ProtocolError(f"the builder's index {digest} is not the one that it announced")
    try:
        document = parse_json(child.index)
        manifests, annotations = document["manifests"], document.get("annotations") or {}
    except (ValueError, KeyError, TypeError) as exc:
        raise ProtocolError(f"the builder's index {digest} is malformed: {exc!r}") from exc
    if not isinstance(annotations, dict) or not isinstance(manifests, list) or not all(isinstance(entry, dict) for entry in manifests):
        raise ProtocolError(f"the builder's index {digest} is malformed: manifests must be a list of objects")
    if not all(_is_descriptor(entry) for entry in manifests) or not all(isinstance(text, str) for text in annotations.values()):
        raise ProtocolError(f"the builder's index {digest} is malformed: it has what is no descriptor")
    return manifests, annotations


def _is_descriptor(entry: JsonObject) -> bool:
    return (
        isinstance(entry.get("mediaType"), str)
        and isinstance(entry.get("digest"), str)
        and isinstance(entry.get("size"), int)
        and isinstance(entry.get("annotations") or {}, dict)
        and isinstance(entry.get("platform") or {}, dict)
    )


def _group(manifests: Sequence[JsonObject]) -> list[_Image]:
    images = [_Image(manifest, []) for manifest in manifests if not _is_attestation(manifest)]
    for manifest in filter(_is_attestation, manifests):
        subject = manifest["annotations"].get(_REFERENCE_DIGEST)
        # Two platforms may share one manifest; then each has an attestation of its own, in the same order.
        candidates = [image for image in images if image.manifest.get("digest") == subject]
        if not candidates:
            raise ProtocolError(f"the builder made an attestation for {subject}, which is no image of the same build")
        min(candidates, key=lambda image: len(image.attestations)).attestations.append(manifest)
    return images


def _is_attestation(manifest: JsonObject) -> bool:
    annotations = manifest.get("annotations")
    return isinstance(annotations, dict) and annotations.get(_REFERENCE_TYPE) == "attestation-manifest"


def _take(platform: Platform, images: list[_Image]) -> _Image:
    """Remove and return the image for `platform` from `images`."""
    found = [image for image in images if _answers(platform, _platform_of(image.manifest))]
    if len(found) != 1:
        made = "made no image" if not found else "made more than one image"
        raise ProtocolError(f"the builder {made} for {platform.full_name}")
    images.remove(found[0])
    return found[0]


def _answers(asked: Platform, made: Platform) -> bool:
    """Whether `made` is what was asked for. An image for Windows may add the version and features of its base image."""
    return (
        (asked.os, asked.architecture, asked.variant) == (made.os, made.architecture, made.variant)
        and asked.os_version in ("", made.os_version)
        and (not asked.os_features or asked.os_features == made.os_features)
    )


def _platform_of(manifest: JsonObject) -> Platform:
    try:
        raw = manifest["platform"]
        return normalize(
            raw["os"], raw["architecture"], raw.get("variant") or "", raw.get("os.version") or "", raw.get("os.features") or ()
        )
    except (KeyError, TypeError, AttributeError) as exc:
        raise ProtocolError(f"the builder's manifest {manifest.get('digest')} does not say its platform") from exc


def _media_type(children: Sequence[Child], manifests: Sequence[JsonObject]) -> str:
    types = {child.descriptor.media_type for child in children} | {manifest.get("mediaType") for manifest in manifests}
    return MEDIA_TYPE_DOCKER_LIST if types <= {MEDIA_TYPE_DOCKER_LIST, MEDIA_TYPE_DOCKER_MANIFEST} else MEDIA_TYPE_INDEX
