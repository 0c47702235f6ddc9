"""A registry's manifests: get, head, put (distribution specification v1.1). Blobs are pushed and pulled by BuildKit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from yarl import URL

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
from kubectl_build.registry.answers import refusal
from kubectl_build.registry.authorization import Authorizer, forbidden_target, is_local
from kubectl_build.registry.http import Dial, Http, NoTls, Refused, RegistryTrust, Response, RetryPolicy, open_http

__all__ = ["RegistryClient", "RegistryTrust", "RetryPolicy", "open_registry"]

_ACCEPT = ", ".join((MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST, MEDIA_TYPE_DOCKER_LIST, MEDIA_TYPE_DOCKER_MANIFEST))
_MAX_REDIRECTS = 5


class RegistryClient:
    """One registry's manifests. Made by `open_registry`; its methods may be used by several tasks at once.

    Methods raise RegistryError for every refusal and failure of the registry, and ConfigError from the keychain.
    """

    def __init__(self, host: str, http: Http, authorizer: Authorizer, schemes: tuple[str, ...]) -> None:
        self.host = host
        self._http = http
        self._authorizer = authorizer
        self._endpoint = "registry-1.docker.io" if host in ("docker.io", "index.docker.io") else host
        self._schemes = schemes

    async def get_manifest(self, repository: str, reference: str) -> tuple[bytes, str, str]:
        """Return the bytes, media type and digest of a manifest or index (4 MiB at most); `reference` is a tag or a digest."""
        response = await self._request("GET", repository, reference, {"Accept": _ACCEPT})
        digest = sha256_digest(response.body)
        for wanted in (reference, response.headers.get("Docker-Content-Digest", "")):
            if is_digest(wanted) and wanted.startswith("sha256:") and wanted != digest:
                raise RegistryError(f'registry "{self.host}" answered other bytes for "{repository}" than those of {wanted}')
        return response.body, _media_type(response), digest

    async def head_manifest(self, repository: str, reference: str) -> Descriptor | None:
        """Return what `reference` (a tag or a digest) points at, None when there is no such manifest."""
        try:
            response = await self._request("HEAD", repository, reference, {"Accept": _ACCEPT})
        except RegistryError as exc:
            if exc.status == 404:
                return None
            raise
        digest, size = response.headers.get("Docker-Content-Digest", ""), response.headers.get("Content-Length", "")
        if not is_digest(digest) or not size.isdigit():
            raise RegistryError(f'registry "{self.host}" does not say the digest and size of "{repository}" at "{reference}"')
        return Descriptor(media_type=_media_type(response), digest=digest, size=int(size))

    async def put_manifest(self, repository: str, reference: str, data: bytes, media_type: str) -> str:
        """Write a manifest or index to a tag or digest and return its digest. What it refers to must be in the repository already."""
        response = await self._request("PUT", repository, reference, {"Content-Type": media_type}, data)
        digest = sha256_digest(data)
        stored = response.headers.get("Docker-Content-Digest", digest)
        if stored.startswith("sha256:") and stored != digest:
            raise RegistryError(f'registry "{self.host}" stored "{repository}:{reference}" as {stored} instead of {digest}')
        return digest

    async def _request(
        self, method: str, repository: str, reference: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Response:
        actions = "pull,push" if method == "PUT" else "pull"
        path = f"/v2/{repository}/manifests/{reference}"
        response = await self._send(method, path, repository, actions, headers, body)
        answered = False
        if response.status == 401:
            answered = await self._authorizer.answer(response, repository, actions)
            if answered:
                response = await self._send(method, path, repository, actions, headers, body)
        if not 200 <= response.status < 300:
            logged_in = answered or bool(self._authorizer.header(repository, actions))
            raise refusal(response, self.host, repository, actions, logged_in=logged_in)
        return response

    async def _send(
        self, method: str, path: str, repository: str, actions: str, headers: Mapping[str, str], body: bytes | None
    ) -> Response:
        """Send to the registry, by the first scheme that it speaks, and follow redirects."""
        while True:
            scheme, *others = self._schemes
            url = URL(f"{scheme}://{self._endpoint}").with_path(path)
            authorization = self._authorizer.header(repository, actions)
            try:
                response = await self._http.send(method, url, headers={**headers, **authorization}, body=body)
            except (NoTls, Refused) as exc:
                # As containerd's HTTPFallback: no TLS on this port, or nothing on a port that nobody asked for.
                if not others or (isinstance(exc, Refused) and url.explicit_port is not None):
                    raise
                self._schemes = tuple(others)
                continue
            return await self._follow(response, method, headers, authorization, body)

    async def _follow(
        self, response: Response, method: str, headers: Mapping[str, str], authorization: Mapping[str, str], body: bytes | None
    ) -> Response:
        for _ in range(_MAX_REDIRECTS):
            location = response.headers.get("Location", "")
            if response.status not in (301, 302, 303, 307, 308) or not location:
                return response
            target = self._redirected(response, location, method)
            same = target.origin() == response.url.origin()
            authorization = authorization if same else {}  # a login is for the registry alone, not for whom it sends us to
            response = await self._http.send(method, target, headers={**headers, **authorization}, body=body)
        raise RegistryError(f'registry "{self.host}" redirects more than {_MAX_REDIRECTS} times')

    def _redirected(self, response: Response, location: str, method: str) -> URL:
        try:
            target = response.url.join(URL(location))
            problem = forbidden_target(target, response.url)
            same = target.origin() == response.url.origin()
        except ValueError:
            raise RegistryError(f'registry "{self.host}" redirects to "{location[:256]}", which is not a URL') from None
        if method == "PUT" and not (same and response.status in (307, 308)):
            problem = problem or "a manifest is written to the registry itself or not at all"
        if problem:
            raise RegistryError(f'registry "{self.host}" redirects to "{target.with_query(None)}", which is not followed: {problem}')
        return target


@asynccontextmanager
async def open_registry(
    host: str,
    *,
    keychain: Keychain,
    trust: RegistryTrust = RegistryTrust(),  # noqa: B008 - frozen
    dial: Dial | None = None,
    retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
) -> AsyncIterator[RegistryClient]:
    """A client of `host` (host or host:port; docker.io is Docker Hub). Connects at the first request.

    With `dial` every connection, the token server's too, goes through a stream that it makes to a host and port; TLS and the login end in
    this process all the same. Without, it is direct, by the environment's proxies. Raises ConfigError when the trust's CA is not PEM.
    """
    async with open_http(host, trust=trust, dial=dial, retry=retry) as http:
        yield RegistryClient(host, http, Authorizer(http, host, keychain), _schemes(host, trust))


def _schemes(host: str, trust: RegistryTrust) -> tuple[str, ...]:
    """What to try, in order: BuildKit's util/resolver/resolver.go (fillInsecureOpts)."""
    if trust.insecure:
        return ("https", "http")
    if trust.http:
        return ("http",)
    name = URL(f"//{host}").host or ""
    return ("https", "http") if is_local(name) else ("https",)


def _media_type(response: Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip()
