"""One request to a registry, whatever it takes: its scheme, its challenges, and the redirects that may be followed.

A login is sent to the registry alone. What it redirects to (storage, a mirror) gets the request without it, and a challenge from there is
not taken up.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import field, replace
from urllib.parse import urlencode

from yarl import URL

from kubectl_build.errors import RegistryError
from kubectl_build.registry.answers import refusal
from kubectl_build.registry.authorization import Authorizer, Scope, forbidden_target, is_local
from kubectl_build.registry.http import Http, NoTls, Refused, RegistryTrust, Response, Upload
from kubectl_build.values import dataclass

_MAX_REDIRECTS = 5

_Once = Callable[[URL, Mapping[str, str]], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to ask. `path` begins with /v2/; `location` stands in its place where the registry has said how to go on (an upload).

    `elsewhere` lets the body go to another host when the registry redirects there. `absent` are statuses besides success that are an
    answer and no error.
    """

    method: str
    path: str
    scope: Scope
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Upload | None = None
    location: URL | None = None
    elsewhere: bool = False
    absent: frozenset[int] = frozenset()


class Exchange:
    """Requests to the registry `host`, which may be made by several tasks at once."""

    def __init__(self, host: str, http: Http, authorizer: Authorizer, trust: RegistryTrust) -> None:
        self.host = host
        self.retry = http.retry
        self._http = http
        self._authorizer = authorizer
        self._endpoint = "registry-1.docker.io" if host in ("docker.io", "index.docker.io") else host
        self._schemes = _schemes(host, trust)

    async def send(self, request: Request) -> Response:
        """Return the answer, whose status is a success or one of `absent`. Raises RegistryError, and ConfigError from the keychain."""

        async def once(url: URL, headers: Mapping[str, str]) -> Response:
            return await self._http.send(request.method, url, headers=headers, body=request.body)

        return await self._perform(request, once)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
        """GET and yield the body's bytes as they come. Raises as `send`, and Broken when the connection ends before the body does."""
        async with AsyncExitStack() as stack:
            bodies: list[AsyncIterator[bytes]] = []

            async def once(url: URL, headers: Mapping[str, str]) -> Response:
                response, chunks = await stack.enter_async_context(self._http.stream(url, headers=headers))
                bodies.append(chunks)
                return response

            await self._perform(request, once)
            yield bodies[-1]

    def upload_location(self, response: Response) -> URL:
        """Where the registry says that an upload goes on, which may be another host. Raises RegistryError."""
        target, problem = self._target(response, response.headers.get("Location", ""))
        if problem:
            raise RegistryError(f'registry "{self.host}" wants the upload at "{target.with_query(None)}", which gets none: {problem}')
        return target

    async def _perform(self, request: Request, once: _Once) -> Response:
        sent = self._authorizer.header(request.scope)
        response = await self._send(request, once, sent)
        if response.status == 401 and self._is_ours(response.url) and await self._authorizer.answer(response, request.scope, sent):
            sent = self._authorizer.header(request.scope)
            response = await self._send(request, once, sent)
        if not 200 <= response.status < 300 and response.status not in request.absent:
            raise refusal(
                response, self.host, request.scope.repository, request.scope.actions, logged_in=self._authorizer.logged_in(request.scope)
            )
        return response

    async def _send(self, request: Request, once: _Once, sent: Mapping[str, str]) -> Response:
        """Send to the registry, by the first scheme that it speaks, and follow redirects."""
        if request.location is not None:
            login = sent if self._is_ours(request.location) else {}
            return await self._follow(await once(request.location, {**request.headers, **login}), request, once, login)
        while True:
            scheme, *others = self._schemes
            url = URL(f"{scheme}://{self._endpoint}").with_path(request.path).with_query(dict(request.query))
            try:
                response = await once(url, {**request.headers, **sent})
            except (NoTls, Refused) as exc:
                # As containerd's HTTPFallback: no TLS on this port, or nothing on a port that nobody asked for.
                if not others or (isinstance(exc, Refused) and url.explicit_port is not None):
                    raise
                self._schemes = tuple(others)
                continue
            return await self._follow(response, request, once, sent)

    async def _follow(self, response: Response, request: Request, once: _Once, sent: Mapping[str, str]) -> Response:
        for _ in range(_MAX_REDIRECTS):
            location = response.headers.get("Location", "")
            if response.status not in (301, 302, 303, 307, 308) or not location:
                return response
            target = self._redirected(response, location, request)
            sent = sent if _keeps_login(response.url, target) else {}  # a login is for the registry, not for whom it sends us to
            response = await once(target, {**request.headers, **sent})
        raise RegistryError(f'registry "{self.host}" redirects more than {_MAX_REDIRECTS} times')

    def _redirected(self, response: Response, location: str, request: Request) -> URL:
        target, problem = self._target(response, location)
        if request.method not in ("GET", "HEAD"):
            if response.status not in (307, 308) and not problem:
                problem = "the answer to a write may not become a read"
            if not request.elsewhere and not _keeps_login(response.url, target):
                problem = problem or "a manifest is written to the registry itself or not at all"
        if problem:
            raise RegistryError(f'registry "{self.host}" redirects to "{target.with_query(None)}", which is not followed: {problem}')
        return target

    def _target(self, response: Response, location: str) -> tuple[URL, str]:
        """What `location` points to, and why we may not go there, "" when we may."""
        try:
            # Kept as it is: the parts of a signed URL may not be spelled in another way.
            target = response.url.join(URL(location, encoded=True))
            return target, forbidden_target(target, response.url)
        except ValueError:
            raise RegistryError(f'registry "{self.host}" redirects to "{location[:256]}", which is not a URL') from None

    def _is_ours(self, url: URL) -> bool:
        own = URL(f"{self._schemes[0]}://{self._endpoint}")
        return _keeps_login(own, url)


def _keeps_login(here: URL, there: URL) -> bool:
    """Whether a login for `here` may be sent to `there`: the same server, or its own default port with TLS in place of plain HTTP."""
    if here.host != there.host:
        return False
    servers = (here.scheme, here.port), (there.scheme, there.port)
    return servers[0] == servers[1] or servers == (("http", 80), ("https", 443))


def _schemes(host: str, trust: RegistryTrust) -> tuple[str, ...]:
    """What to try, in order: BuildKit's util/resolver/resolver.go (fillInsecureOpts)."""
    if trust.insecure:
        return ("https", "http")
    if trust.http:
        return ("http",)
    name = URL(f"//{host}").host or ""
    return ("https", "http") if is_local(name) else ("https",)


def at_location(request: Request, location: URL, **query: str) -> Request:
    """The same request at `location`, with more query parameters than those that the registry has put there."""
    joint = "&" if location.raw_query_string else "?"
    return replace(request, location=URL(f"{location.with_fragment(None)}{joint}{urlencode(query)}", encoded=True))
