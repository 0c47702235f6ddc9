"""The index that `imagetools create` makes of images: bytes for bytes what `docker buildx imagetools create` would write. Pure.

Rules: docker/buildx v0.35.0, util/imagetools/create.go. Indexes are flattened, a manifest that comes twice is one entry, a lone index (or
without `prefer_index` a lone manifest) stays as it is, and of platforms that are left out the attestations go too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kubectl_build.errors import RegistryError, UsageError
from kubectl_build.model.digest import INDEX_TYPES, MEDIA_TYPE_DOCKER_LIST, MEDIA_TYPE_INDEX, sha256_digest
from kubectl_build.model.gojson import marshal_indent
from kubectl_build.model.json import JsonObject, parse_json
from kubectl_build.model.platform import Platform, normalize
from kubectl_build.model.reference import Reference
from kubectl_build.model.request import Annotation
from kubectl_build.registry import gojson
from kubectl_build.values import dataclass

REFERENCE_TYPE = "vnd.docker.reference.type"
REFERENCE_DIGEST = "vnd.docker.reference.digest"
_ATTESTATION = "attestation-manifest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An image or index that goes in: where it is, its descriptor (with a platform unless it is an index), its own bytes."""

    reference: Reference
    descriptor: JsonObject
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A manifest that the result refers to (or is), and the source whose repository has it."""

    descriptor: JsonObject
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Combined:
    """What is to be written under every tag."""

    data: bytes
    descriptor: JsonObject
    parts: tuple[Part, ...]

    @property
    def is_index(self) -> bool:
        """Whether this is an index, and not a lone manifest copied as it is."""
        return self.descriptor["mediaType"] in INDEX_TYPES


def combine(sources: Sequence[Source], annotations: Sequence[Annotation], *, prefer_index: bool) -> Combined:
    """Join `sources` (at least one). Raises UsageError for annotations of a kind that an index cannot have, RegistryError for bad JSON."""
    first = sources[0]
    if len(sources) == 1 and not annotations:
        if first.descriptor["mediaType"] in INDEX_TYPES:
            manifests = _manifests(first)
            return Combined(data=first.data, descriptor=first.descriptor, parts=tuple(Part(descriptor=m, source=first) for m in manifests))
        if not prefer_index:
            return Combined(data=first.data, descriptor=first.descriptor, parts=(Part(descriptor=first.descriptor, source=first),))
    parts: dict[str, Part] = {}
    for source in sources:
        for entry in _manifests(source):
            digest = entry["digest"]
            known = parts.get(digest)
            parts[digest] = Part(descriptor=_joined(known.descriptor, entry) if known else entry, source=source)
    entries = [part.descriptor for part in parts.values()]
    docker = all(str(entry.get("mediaType", "")).startswith("application/vnd.docker.") for entry in entries)
    document: JsonObject = {"schemaVersion": 2, "mediaType": MEDIA_TYPE_DOCKER_LIST if docker else MEDIA_TYPE_INDEX, "manifests": entries}
    if not docker:
        document["annotations"] = _annotate(entries, annotations)
    return _written(document, tuple(parts.values()))


def annotations_dropped(combined: Combined, annotations: Sequence[Annotation]) -> bool:
    """Whether `annotations` found no place, since a Docker manifest list has none."""
    return bool(annotations) and combined.descriptor["mediaType"] == MEDIA_TYPE_DOCKER_LIST


def unattested(combined: Combined, platforms: Sequence[Platform]) -> list[Part]:
    """The images of `platforms` (none: all) for which the index has no attestation; the registry may know one as a referrer."""
    if not combined.is_index:
        return []
    attested = {part.descriptor["annotations"].get(REFERENCE_DIGEST) for part in combined.parts if _is_attestation(part.descriptor)}
    return [
        part
        for part in combined.parts
        if _matches(part.descriptor, platforms) and not _is_attestation(part.descriptor) and part.descriptor["digest"] not in attested
    ]


def select(combined: Combined, platforms: Sequence[Platform], attestations: Mapping[str, JsonObject]) -> Combined:
    """Leave only the images of `platforms` (none: all) with their attestations, and add `attestations`, by the digest of their image.

    The bytes stay where nothing changes. Raises UsageError when nothing is left.
    """
    if not combined.is_index:
        if not _matches(combined.descriptor, platforms):
            raise UsageError(f"the source is for {_platform(combined.descriptor)}, which --platform does not name")
        return combined
    by_digest = {part.descriptor["digest"]: part for part in combined.parts}
    kept = [part for part in combined.parts if _kept(part.descriptor, by_digest, platforms)]
    if not kept:
        there = ", ".join(dict.fromkeys(str(_platform(part.descriptor)) for part in combined.parts if not _is_attestation(part.descriptor)))
        raise UsageError(f"no image of the sources is for {', '.join(map(str, platforms))}", hint=f"they are for {there}")
    added = [
        Part(descriptor=_as_attestation(entry, digest), source=by_digest[digest].source)
        for digest, entry in attestations.items()
        if entry["digest"] not in by_digest
    ]
    if len(kept) == len(combined.parts) and not added:
        return combined
    document = parse_json(combined.data)
    document["manifests"] = [part.descriptor for part in (*kept, *added)]
    return _written(document, (*kept, *added), media_type=combined.descriptor["mediaType"])


def _manifests(source: Source) -> list[JsonObject]:
    """What a source brings: the entries of an index, or itself. They are copies."""
    if source.descriptor["mediaType"] not in INDEX_TYPES:
        return [dict(source.descriptor)]
    try:
        found = [dict(entry) for entry in parse_json(source.data)["manifests"] or []]
        if all(isinstance(entry["digest"], str) for entry in found):
            return found
    except (ValueError, KeyError, TypeError) as exc:
        raise RegistryError(f"the index {source.reference} is malformed: {exc!r}") from exc
    raise RegistryError(f"the index {source.reference} is malformed: a digest is no string")


def _joined(known: JsonObject, again: JsonObject) -> JsonObject:
    """An entry that comes a second time: its platform counts, and its annotations go over the first one's."""
    result = dict(known)
    result["mediaType"] = known.get("mediaType") or again.get("mediaType")
    if again.get("platform") is not None:
        result["platform"] = again["platform"]
    result["annotations"] = {**(known.get("annotations") or {}), **(again.get("annotations") or {})}
    return result


def _annotate(entries: Iterable[JsonObject], annotations: Sequence[Annotation]) -> dict[str, str]:
    """Put descriptor annotations into `entries` and return those of the index."""
    own: dict[str, str] = {}
    for annotation in annotations:
        match annotation.kind:
            case "index":
                own[annotation.key] = annotation.value
            case "manifest-descriptor":
                for entry in entries:
                    if annotation.platform is None or str(annotation.platform) == str(_platform(entry)):
                        entry["annotations"] = {**(entry.get("annotations") or {}), annotation.key: annotation.value}
            case kind:
                raise UsageError(
                    f'annotation "{annotation.key}" is of the kind "{kind}", which joining images cannot write',
                    hint="write --annotation index:KEY=VALUE or manifest-descriptor:KEY=VALUE",
                )
    return own


def _written(document: JsonObject, parts: tuple[Part, ...], *, media_type: str = "") -> Combined:
    data = marshal_indent(gojson.index(document))
    descriptor = {"mediaType": media_type or document["mediaType"], "digest": sha256_digest(data), "size": len(data)}
    return Combined(data=data, descriptor=descriptor, parts=parts)


def _kept(entry: JsonObject, by_digest: Mapping[str, Part], platforms: Sequence[Platform]) -> bool:
    if _matches(entry, platforms):
        return True
    subject = by_digest.get(entry["annotations"].get(REFERENCE_DIGEST, "")) if _is_attestation(entry) else None
    return subject is not None and _matches(subject.descriptor, platforms)


def _matches(entry: JsonObject, platforms: Sequence[Platform]) -> bool:
    made = _platform(entry)
    return made is None or not platforms or any(_answers(asked, made) for asked in platforms)


def _answers(asked: Platform, made: Platform) -> bool:
    """As containerd/platforms' matcher: a version that is asked for is the start of the one that is there."""
    return (asked.os, asked.architecture, asked.variant) == (made.os, made.architecture, made.variant) and (
        not asked.os_version or made.os_version.startswith(asked.os_version)
    )


def _platform(entry: JsonObject) -> Platform | None:
    raw = entry.get("platform")
    if not isinstance(raw, dict):
        return None
    text = {name: str(raw.get(name) or "") for name in ("os", "architecture", "variant", "os.version")}
    return normalize(text["os"], text["architecture"], text["variant"], text["os.version"], raw.get("os.features") or ())


def _is_attestation(entry: JsonObject) -> bool:
    return (entry.get("annotations") or {}).get(REFERENCE_TYPE) == _ATTESTATION


def _as_attestation(entry: JsonObject, subject: str) -> JsonObject:
    annotations = {**(entry.get("annotations") or {}), REFERENCE_TYPE: _ATTESTATION, REFERENCE_DIGEST: subject}
    kept = {name: value for name, value in entry.items() if name != "artifactType"}
    return {**kept, "platform": {"architecture": "unknown", "os": "unknown"}, "annotations": annotations}
