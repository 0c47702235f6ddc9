"""`imagetools inspect`: what a registry has under a name, with the configs, provenance and SBOMs of its images.

Rules: docker/buildx v0.35.0, util/imagetools/loader.go and printers.go.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Iterator
from dataclasses import field

from kubectl_build.errors import RegistryError, ungrouped
from kubectl_build.model.digest import INDEX_TYPES, is_digest
from kubectl_build.model.json import JsonObject, parse_json
from kubectl_build.model.platform import normalize
from kubectl_build.model.reference import Reference
from kubectl_build.registry.pool import Place, Registries
from kubectl_build.registry.sources import read_config
from kubectl_build.values import dataclass

_REFERENCES = ("com.docker.reference.digest", "vnd.docker.reference.digest")
_PREDICATE = "in-toto.io/predicate-type"
_SPDX = "https://spdx.dev/Document"
_SLSA = "https://slsa.dev/provenance/"
_DSSE = re.compile(r"application/vnd\.in-toto\..*\+dsse")
_STATEMENT_LIMIT = 128 * 1024 * 1024
"""Bytes of one attestation: an SBOM of a large image has tens of megabytes."""

_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """What is under `reference`: its own bytes, read as JSON too."""

    reference: Reference
    media_type: str
    digest: str
    data: bytes
    document: JsonObject

    @property
    def is_index(self) -> bool:
        """Whether this is an index or manifest list."""
        return self.media_type in INDEX_TYPES


@dataclass(slots=True)
class Details:
    """What belongs to the images, by platform ("linux/arm64"): configs, SLSA predicates, SPDX documents."""

    images: dict[str, JsonObject] = field(default_factory=dict)
    provenance: dict[str, JsonObject] = field(default_factory=dict)
    sbom: dict[str, list[JsonObject]] = field(default_factory=dict)


async def inspect(registries: Registries, reference: Reference) -> Inspected:
    """Get what `reference` names. Raises RegistryError."""
    place = await registries.place(reference)
    data, media_type, digest = await place.client.get_manifest(place.repository, reference.digest or reference.tag)
    return Inspected(reference=reference, media_type=media_type, digest=digest, data=data, document=_parse(data, str(reference)))


async def load_details(registries: Registries, inspected: Inspected, *, attestations: bool) -> Details:
    """Get the configs of all images and, with `attestations`, what is attested about them. Raises RegistryError."""
    place = await registries.place(inspected.reference)
    loader = _Loader(place)
    if inspected.is_index:
        await loader.index(inspected.document)
    else:
        await loader.image(inspected.document, None)
    if attestations:
        await loader.attestations()
    return loader.details


class _Loader:
    """Gathers Details of one repository."""

    def __init__(self, place: Place) -> None:
        self.details = Details()
        self._place = place
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._platforms: dict[str, str] = {}
        self._attested: dict[str, list[JsonObject]] = {}

    async def index(self, document: JsonObject) -> None:
        with ungrouped():
            async with asyncio.TaskGroup() as group:
                for entry in document.get("manifests") or ():
                    group.create_task(self._entry(entry))

    async def _entry(self, entry: JsonObject) -> None:
        digest = str(entry.get("digest"))
        if not is_digest(digest):
            raise RegistryError(f"an index of {self._place} is malformed: {digest} is not a digest")
        async with self._slots:
            data, media_type, _ = await self._place.client.get_manifest(self._place.repository, digest)
        document = _parse(data, f"{self._place}@{digest}")
        annotations = entry.get("annotations") or {}
        subject = next((annotations[name] for name in _REFERENCES if name in annotations), None)
        if media_type in INDEX_TYPES:
            await self.index(document)
        elif subject is not None:
            self._attested.setdefault(subject, []).append(document)
        else:
            self._platforms[await self.image(document, entry.get("platform"))] = digest

    async def image(self, document: JsonObject, platform: JsonObject | None) -> str:
        """Take the image of a manifest; return its platform, that of its config when the index does not say it."""
        async with self._slots:
            config = await read_config(self._place, json.dumps(document).encode())
        said = platform or config
        name = str(normalize(*(str(said.get(key) or "") for key in ("os", "architecture", "variant"))))
        self.details.images[name] = config
        return name

    async def attestations(self) -> None:
        for name in sorted(self._platforms):
            for document in self._attested.get(self._platforms[name], ()):
                for layer, kind in _statements(document):
                    predicate = await self._predicate(layer)
                    if kind == _SPDX:
                        self.details.sbom.setdefault(name, []).append(predicate)
                    else:
                        self.details.provenance[name] = predicate

    async def _predicate(self, layer: JsonObject) -> JsonObject:
        data = await self._place.client.blobs.read(self._place.repository, layer["digest"], limit=_STATEMENT_LIMIT)
        where = f"the attestation {layer['digest']} of {self._place}"
        statement = _parse(data, where)
        if _DSSE.fullmatch(layer["mediaType"]):
            try:
                statement = _parse(base64.b64decode(statement["payload"], validate=True), where)
            except (ValueError, KeyError, TypeError) as exc:
                raise RegistryError(f"{where} is malformed: {exc!r}") from exc
        predicate = statement.get("predicate")
        return predicate if isinstance(predicate, dict) else {}


def _statements(manifest: JsonObject) -> Iterator[tuple[JsonObject, str]]:
    """The layers of an attestation manifest that are SPDX documents, and its first provenance, each with its kind."""
    slsa = False
    for layer in manifest.get("layers") or ():
        media_type, kind = str(layer.get("mediaType")), str((layer.get("annotations") or {}).get(_PREDICATE, ""))
        if media_type != "application/vnd.in-toto+json" and not _DSSE.fullmatch(media_type):
            continue
        if kind == _SPDX:
            yield layer, _SPDX
        elif kind.startswith(_SLSA) and not slsa:
            slsa = True
            yield layer, _SLSA


def _parse(data: bytes, where: str) -> JsonObject:
    try:
        document = parse_json(data)
    except ValueError as exc:
        raise RegistryError(f"{where} is not valid JSON: {exc}") from exc
    if not isinstance(document, dict):
        raise RegistryError(f"{where} is not a JSON object")
    return document
