"""A registry's manifests and referrers (distribution specification v1.1); its blobs are in `registry.blobs`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from kubectl_build.errors import RegistryError
from kubectl_build.model.credentials import Keychain
from kubectl_build.model.digest import (
    MEDIA_TYPE_DOCKER_LIST,
    MEDIA_TYPE_DOCKER_MANIFEST,
    MEDIA_TYPE_INDEX,
    MEDIA_TYPE_MANIFEST,
    Descriptor,
    is_digest,
    sha256_digest,
)
from kubectl_build.model.events import Sink
from kubectl_build.model.json import JsonObject, parse_json
from kubectl_build.registry.authorization import Authorizer, Scope
from kubectl_build.registry.blobs import Blobs
from kubectl_build.registry.exchange import Exchange, Request
from kubectl_build.registry.http import Dial, RegistryTrust, Response, RetryPolicy, open_http

__all__ = ["RegistryClient", "RegistryTrust", "RetryPolicy", "open_registry"]

_NO_LIST = frozenset({400, 403, 404, 405})
"""How registries say that they have no list of referrers, or none under the fallback tag."""

_UNSETTLED = frozenset({"MANIFEST_BLOB_UNKNOWN", "DIGEST_INVALID"})
"""What some registries say for a moment of a manifest's parts that somebody else pushes too: see `_UNSETTLED_TEXT` of buildkit.errors."""

_ACCEPT = ", ".join((MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST, MEDIA_TYPE_DOCKER_LIST, MEDIA_TYPE_DOCKER_MANIFEST))


class RegistryClient:
    """One registry. Made by `open_registry`; its methods may be used by several tasks at once.

    Methods raise RegistryError for every refusal and failure of the registry, and ConfigError from the keychain.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.host = exchange.host
        self.blobs = Blobs(exchange)
        self._exchange = exchange

    async def get_manifest(self, repository: str, reference: str) -> tuple[bytes, str, str]:
        """Return the bytes, media type and digest of a manifest or index (4 MiB at most); `reference` is a tag or a digest."""
        response = await self._ask("GET", repository, reference)
        digest = sha256_digest(response.body)
        for wanted in (reference, response.headers.get("Docker-Content-Digest", "")):
            if is_digest(wanted) and wanted.startswith("sha256:") and wanted != digest:
                raise RegistryError(f'registry "{self.host}" answered other bytes for "{repository}" than those of {wanted}')
        return response.body, _media_type(response), digest

    async def head_manifest(self, repository: str, reference: str) -> Descriptor | None:
        """Return what `reference` (a tag or a digest) points at, None when there is no such manifest.

        A registry that answers no digest or size is asked for the manifest itself.
        """
        response = await self._ask("HEAD", repository, reference, absent=frozenset({404}))
        if response.status == 404:
            return None
        digest, size = response.headers.get("Docker-Content-Digest", ""), response.headers.get("Content-Length", "")
        if is_digest(digest) and size.isascii() and size.isdigit() and len(size) < 19:
            return Descriptor(media_type=_media_type(response), digest=digest, size=int(size))
        data, media_type, digest = await self.get_manifest(repository, reference)
        return Descriptor(media_type=media_type, digest=digest, size=len(data))

    async def put_manifest(self, repository: str, reference: str, data: bytes, media_type: str) -> str:
        """Write a manifest or index to a tag or digest and return its digest. What it refers to must be in the repository already.

        A registry that does not know of all that yet is asked again, as often as the retry policy says.
        """
        scope = Scope(repository=repository, actions="pull,push")
        path = f"/v2/{repository}/manifests/{reference}"
        request = Request(method="PUT", path=path, scope=scope, headers={"Content-Type": media_type}, body=data)
        response = await self._settled(request)
        digest = sha256_digest(data)
        stored = response.headers.get("Docker-Content-Digest", digest)
        if stored.startswith("sha256:") and stored != digest:
            raise RegistryError(f'registry "{self.host}" stored "{repository}:{reference}" as {stored} instead of {digest}')
        return digest

    async def referrers(self, repository: str, digest: str, *, artifact_types: Sequence[str] = ()) -> list[JsonObject]:
        """The descriptors of what says that it is about the manifest `digest`, of the named types only (none: of all).

        Where the registry has no such list, what stands under the specification's fallback tag counts.
        """
        path = f"/v2/{repository}/referrers/{digest}"
        scope = Scope(repository=repository, actions="pull")
        request = Request(method="GET", path=path, scope=scope, headers={"Accept": MEDIA_TYPE_INDEX}, absent=_NO_LIST)
        response = await self._exchange.send(request)
        if response.status != 200 or _media_type(response) != MEDIA_TYPE_INDEX:
            response = await self._ask("GET", repository, digest.replace(":", "-"), absent=_NO_LIST)
        if response.status != 200:
            return []
        try:
            manifests = parse_json(response.body).get("manifests") or []
            return [entry for entry in manifests if not artifact_types or entry.get("artifactType") in artifact_types]
        except (ValueError, AttributeError) as exc:
            raise RegistryError(f'registry "{self.host}" answered a malformed list of what refers to {digest}') from exc

    async def _settled(self, request: Request) -> Response:
        policy = self._exchange.retry
        for attempt in range(1, policy.attempts):
            try:
                return await self._exchange.send(request)
            except RegistryError as exc:
                if exc.code not in _UNSETTLED:
                    raise
            await asyncio.sleep(policy.pause(attempt))
        return await self._exchange.send(request)

    async def _ask(self, method: str, repository: str, reference: str, *, absent: frozenset[int] = frozenset()) -> Response:
        path = f"/v2/{repository}/manifests/{reference}"
        scope = Scope(repository=repository, actions="pull")
        return await self._exchange.send(Request(method=method, path=path, scope=scope, headers={"Accept": _ACCEPT}, absent=absent))


@asynccontextmanager
async def open_registry(
    host: str,
    *,
    keychain: Keychain,
    trust: RegistryTrust = RegistryTrust(),  # noqa: B008 - frozen
    dial: Dial | None = None,
    retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
    emit: Sink | None = None,
) -> AsyncIterator[RegistryClient]:
    """A client of `host` (host or host:port; docker.io is Docker Hub). Connects at the first request.

    With `dial` every connection, the token server's too, goes through a stream that it makes to a host and port; TLS and the login end in
    this process all the same. Without, it is direct, by the environment's proxies. `emit` gets a note of each wait that the registry asks
    for. Raises ConfigError when the trust's CA is not PEM.
    """
    async with open_http(host, trust=trust, dial=dial, retry=retry, emit=emit) as http:
        yield RegistryClient(Exchange(host, http, Authorizer(http, host, keychain), trust))


def _media_type(response: Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip()
