"""Copying manifests with all that they refer to from one repository to another.

Within a registry blobs are mounted, between registries they are streamed. What says that it is about an image (attestations, cosign and
sigstore signatures: those that docker/buildx v0.35.0 copies, util/imagetools/create.go) goes with it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from yarl import URL

from kubectl_build.errors import RegistryError, ungrouped
from kubectl_build.model.digest import MEDIA_TYPE_INDEX, is_digest, sha256_digest
from kubectl_build.model.gojson import marshal_indent
from kubectl_build.model.json import JsonObject, parse_json
from kubectl_build.registry.pool import Place

ATTESTATION = "application/vnd.docker.attestation.manifest.v1+json"
_COPIED_REFERRERS = (
    ATTESTATION,
    "application/vnd.dev.cosign.artifact.sig.v1+json",
    "application/vnd.dev.sigstore.bundle.v0.3+json",
)
_AT_ONCE = 4
_NO_MOUNT = frozenset({401, 403, 404, 405})


class Copier:
    """Copies to one repository. Several tasks may copy at once: what two of them need is copied once.

    `tell` gets a line for each blob that is really sent.
    """

    def __init__(self, target: Place, tell: Callable[[str], None]) -> None:
        self._target = target
        self._tell = tell
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._done: set[str] = set()

    async def copy(self, source: Place, digest: str) -> None:
        """Copy the manifest or index `digest`. Raises RegistryError; what was copied before it stays, under no tag."""
        if (source.client.host, source.repository) == (self._target.client.host, self._target.repository):
            return
        async with self._locks[digest]:
            if digest in self._done:
                return
            if await self._target.client.head_manifest(self._target.repository, digest) is None:
                await self._write(source, digest)
            await self._referrers(source, digest)
            self._done.add(digest)

    async def _write(self, source: Place, digest: str) -> None:
        data, media_type, _ = await source.client.get_manifest(source.repository, digest)
        children, blobs = _references(data, f"{source}@{digest}")
        with ungrouped():
            async with asyncio.TaskGroup() as group:
                for child in children:
                    group.create_task(self.copy(source, child))
                for blob in blobs:
                    group.create_task(self._blob(source, blob))
        await self._target.client.put_manifest(self._target.repository, digest, data, media_type)

    async def _blob(self, source: Place, descriptor: JsonObject) -> None:
        digest, size = descriptor["digest"], descriptor["size"]
        async with self._locks[digest], self._slots:
            if digest in self._done or await self._target.client.blobs.exists(self._target.repository, digest):
                return
            begun: URL | None = None
            if source.client.host == self._target.client.host:
                try:
                    begun = await self._target.client.blobs.mount(self._target.repository, digest, source.repository)
                except RegistryError as exc:
                    if exc.status not in _NO_MOUNT:  # one that does not mount, or not from there for us, may take the bytes
                        raise
                else:
                    if begun is None:
                        self._done.add(digest)
                        return

            async def chunks() -> AsyncGenerator[bytes, None]:
                async with source.client.blobs.open(source.repository, digest) as opened:
                    async for chunk in opened:
                        yield chunk

            self._tell(f"copying blob {digest} ({size} bytes)")
            await self._target.client.blobs.push(self._target.repository, digest, size, chunks, begun=begun)
            self._done.add(digest)

    async def _referrers(self, source: Place, digest: str) -> None:
        found = await source.client.referrers(source.repository, digest, artifact_types=_COPIED_REFERRERS)
        for entry in found:
            await self.copy(source, entry["digest"])
        if found:
            await self._list(digest, found)

    async def _list(self, digest: str, copied: Sequence[JsonObject]) -> None:
        """Where the registry keeps no list of referrers by itself, keep it under the fallback tag (distribution specification v1.1)."""
        target = self._target
        listed = await target.client.referrers(target.repository, digest)
        known = {entry.get("digest") for entry in listed}
        missing = [entry for entry in copied if entry["digest"] not in known]
        if missing:
            document: JsonObject = {"schemaVersion": 2, "mediaType": MEDIA_TYPE_INDEX, "manifests": [*listed, *missing]}
            await target.client.put_manifest(target.repository, digest.replace(":", "-"), marshal_indent(document), MEDIA_TYPE_INDEX)


def _references(data: bytes, where: str) -> tuple[list[str], list[JsonObject]]:
    """The digests of the manifests, and the descriptors of the blobs, that a manifest or index refers to.

    Blobs that are to be had elsewhere (`urls`: the base layers of Windows) are not in the registry and are left out.
    """
    try:
        document: Any = parse_json(data)
        children = [str(entry["digest"]) for entry in document.get("manifests") or ()]
        listed = [document["config"]] if document.get("config") else []
        blobs = [blob for blob in (*listed, *(document.get("layers") or ())) if not blob.get("urls")]
        if all(map(is_digest, children)) and all(is_digest(blob["digest"]) and isinstance(blob["size"], int) for blob in blobs):
            return children, list({blob["digest"]: blob for blob in blobs}.values())
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise RegistryError(f"the manifest {where} is malformed: {exc!r}") from exc
    raise RegistryError(f"the manifest {where} ({sha256_digest(data)}) is malformed: a descriptor without a digest or size")
