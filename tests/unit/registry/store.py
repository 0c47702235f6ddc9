"""The strict registry with blobs: uploads, mounts and referrers, in every spelling that registries have for where an upload goes on."""

from __future__ import annotations

import json
import re
from collections import deque
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from aiohttp import web

from kubectl_build.model.digest import MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST, sha256_digest
from tests.unit.registry.fake import Answer, FakeRegistry, refuse

_STATE = "a/b+c=%2F"
"""A value that must come back as it was sent: registries sign it."""


@dataclass
class Store(FakeRegistry):
    """A registry that keeps blobs by repository. `blob_answers` are given, in order, in place of the next PUTs of an upload."""

    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    blob_answers: deque[Answer] = field(default_factory=deque)
    location: str = "/upload/{repository}/1?state={state}"
    mounts: bool = True
    lists_referrers: bool = True
    bodies: list[int] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        blob = re.fullmatch(r"/v2/(.+)/blobs/(sha256:[0-9a-f]{64})", request.path)
        begin = re.fullmatch(r"/v2/(.+)/blobs/uploads/", request.path)
        upload = re.fullmatch(r"/upload/(.+)/1", request.path)
        about = re.fullmatch(r"/v2/(.+)/referrers/(sha256:[0-9a-f]{64})", request.path)
        match = blob or begin or upload or about
        if match is None or self.answers:
            return await super().handle(request)
        self.requests.append(f"{request.method} {request.path}")
        self.authorizations.append(request.headers.get("Authorization", ""))
        if not upload and (refused := self._check(request, match.group(1))) is not None:
            return refused
        if blob:
            return self._blob(blob.group(1), blob.group(2))
        if begin:
            return self._begin(request, begin.group(1))
        if upload:
            return await self._upload(request, upload.group(1))
        return self._referrers(match.group(1), match.group(2))

    def _blob(self, repository: str, digest: str) -> web.Response:
        if (repository, digest) not in self.blobs:
            return refuse(404, "BLOB_UNKNOWN", "blob unknown")
        return web.Response(body=self.blobs[repository, digest], content_type="application/octet-stream")

    def _begin(self, request: web.Request, repository: str) -> web.Response:
        digest, source = request.query.get("mount", ""), request.query.get("from", "")
        if self.mounts and (source, digest) in self.blobs:
            self.blobs[repository, digest] = self.blobs[source, digest]
            return web.Response(status=201)
        location = self.location.format(repository=repository, state=quote(_STATE, safe=""), url=self.url)
        return web.Response(status=202, headers={"Location": location})

    async def _upload(self, request: web.Request, repository: str) -> web.StreamResponse:
        if self.blob_answers:
            return await self.blob_answers.popleft()(request)
        data = await request.read()
        self.bodies.append(len(data))
        if f"state={quote(_STATE, safe='')}" not in request.raw_path:
            return refuse(400, "BLOB_UPLOAD_INVALID", f"the state is spelled in another way: {request.raw_path}")
        if sha256_digest(data) != request.query["digest"] or request.headers["Content-Length"] != str(len(data)):
            return refuse(400, "DIGEST_INVALID", "other bytes")
        self.blobs[repository, request.query["digest"]] = data
        return web.Response(status=201)

    def _referrers(self, repository: str, digest: str) -> web.Response:
        if not self.lists_referrers:
            return web.Response(status=404, text="404 page not found")
        found = []
        for (name, reference), (data, media_type) in self.manifests.items():
            document = json.loads(data)
            if name == repository and reference.startswith("sha256:") and document.get("subject", {}).get("digest") == digest:
                kind = document.get("artifactType", "")
                found.append({"mediaType": media_type, "digest": reference, "size": len(data), "artifactType": kind})
        index = {"schemaVersion": 2, "mediaType": MEDIA_TYPE_INDEX, "manifests": found}
        return web.Response(body=json.dumps(index).encode(), headers={"Content-Type": MEDIA_TYPE_INDEX})

    def add_image(self, repository: str, tag: str, *, layer: bytes = b"layer", **more: Any) -> str:
        """Put an image with one layer; return its digest."""
        parts = []
        for data in (b'{"os":"linux","architecture":"amd64"}', layer):
            self.blobs[repository, sha256_digest(data)] = data
            parts.append({"mediaType": "application/octet-stream", "digest": sha256_digest(data), "size": len(data)})
        document = {"schemaVersion": 2, "mediaType": MEDIA_TYPE_MANIFEST, "config": parts[0], "layers": parts[1:], **more}
        data = json.dumps(document).encode()
        for reference in (tag, sha256_digest(data)):
            self.manifests[repository, reference] = (data, MEDIA_TYPE_MANIFEST)
        return sha256_digest(data)
