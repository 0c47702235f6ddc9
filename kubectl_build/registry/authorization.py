"""How a registry wants to be told who we are: challenges, Basic, and Bearer tokens of a token server.

Follows RFC 9110 (11.6.1), the distribution project's token and oauth2 specifications, and for what a realm may be go-containerregistry's
transport/bearer.go: a registry names the server that gets the login, so it must not be able to name any.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from yarl import URL

from kubectl_build.errors import RegistryError
from kubectl_build.model.credentials import Credentials, Keychain
from kubectl_build.model.json import JsonObject, parse_json
from kubectl_build.registry.answers import refusal
from kubectl_build.registry.http import Http, Response
from kubectl_build.values import dataclass

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))\s*(?:,|$)')
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?:[\s,]+|$)")
_CLIENT_ID = "kubectl-build"


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One way to log in that a server offers. `scheme` and the names of `parameters` are in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(headers: Sequence[str]) -> list[Challenge]:
    """Read WWW-Authenticate headers, each of which may hold several challenges. What cannot be read ends its header."""
    found = []
    for header in headers:
        position = 0
        while scheme := _SCHEME.match(header, position):
            position = scheme.end()
            parameters: dict[str, str] = {}
            while parameter := _PARAMETER.match(header, position):
                position = parameter.end()
                quoted, plain = parameter.group(2), parameter.group(3)
                parameters[parameter.group(1).lower()] = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            found.append(Challenge(scheme=scheme.group(1).lower(), parameters=parameters))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a request needs to be allowed: `actions` ("pull" or "pull,push") in `repository`, and to pull from `mount_from`."""

    repository: str
    actions: str
    mount_from: str = ""

    def including(self, text: str) -> list[str]:
        """Token scopes for this and for what a challenge asks (`text`, with blanks between them): one for each resource, actions sorted.

        Some registries ask for less than the request needs (GHCR names only pull), others for more.
        """
        own = [f"repository:{self.repository}:{self.actions}"]
        if self.mount_from:
            own.append(f"repository:{self.mount_from}:pull")
        asked: dict[str, set[str]] = {}
        for scope in [*text.split(), *own]:
            resource, colon, actions = scope.rpartition(":")
            asked.setdefault(resource if colon else scope, set()).update(actions.split(",") if colon else ())
        return [":".join((resource, ",".join(sorted(actions)))) if actions else resource for resource, actions in asked.items()]


class Authorizer:
    """Keeps what to send as Authorization for each scope, and learns it from challenges."""

    def __init__(self, http: Http, registry: str, keychain: Keychain) -> None:
        self._http = http
        self._registry = registry
        self._keychain = keychain
        self._known: dict[Scope, str] = {}
        self._anonymous: set[Scope] = set()
        self._asking: defaultdict[Scope, asyncio.Lock] = defaultdict(asyncio.Lock)

    def header(self, scope: Scope) -> dict[str, str]:
        """The header to send now; none before a challenge was answered."""
        value = self._known.get(scope)
        return {"Authorization": value} if value else {}

    def logged_in(self, scope: Scope) -> bool:
        """Whether what is sent for `scope` says who we are; a token for everybody does not."""
        return scope in self._known and scope not in self._anonymous

    async def answer(self, response: Response, scope: Scope, sent: Mapping[str, str]) -> bool:
        """Take up the challenge of a 401 to a request that had the header `sent`. Of several tasks that met it, one asks for a token.

        Returns False when there is no login, or none that the registry takes, to answer it with. Raises RegistryError when the token
        server refuses or is not one that may be trusted; ConfigError from the keychain.
        """
        async with self._asking[scope]:
            if self.header(scope) != sent:
                return True
            challenges = {challenge.scheme: challenge for challenge in reversed(parse_challenges(response.challenges))}
            credentials = await self._keychain.resolve(self._registry, scope.repository)
            value = None
            if "bearer" in challenges:
                if credentials is not None and credentials.registry_token:
                    value = f"Bearer {credentials.registry_token}"
                else:
                    value = f"Bearer {await self._token(challenges['bearer'], response.url, scope, credentials)}"
            elif "basic" in challenges and credentials is not None and credentials.username:
                value = basic(credentials)
            if value is None or value == self._known.get(scope):
                return False
            self._known[scope] = value
            if credentials is None:
                self._anonymous.add(scope)
            return True

    async def _token(self, challenge: Challenge, asked: URL, scope: Scope, credentials: Credentials | None) -> str:
        realm = token_server(challenge.parameters.get("realm", ""), self._registry, asked)
        query = [("scope", text) for text in scope.including(challenge.parameters.get("scope", ""))]
        if service := challenge.parameters.get("service"):
            query.append(("service", service))
        if credentials is not None and not credentials.username and credentials.secret:
            # The oauth2 specification has one scope parameter with blanks in it, where the token specification repeats the parameter.
            form = {"grant_type": "refresh_token", "client_id": _CLIENT_ID, "refresh_token": credentials.secret, **dict(query)}
            form["scope"] = " ".join(value for name, value in query if name == "scope")
            response = await self._http.send("POST", realm, headers={}, body=urlencode(form).encode(), form=True)
        else:
            headers = {"Authorization": basic(credentials)} if credentials is not None and credentials.username else {}
            response = await self._http.send("GET", realm.extend_query(query), headers=headers)
        if response.status != 200:
            raise refusal(response, self._registry, scope.repository, scope.actions, logged_in=credentials is not None)
        return read_token(response, self._registry, ("token", "access_token"))[0]


def token_server(text: str, registry: str, asked: URL) -> URL:
    """The URL of the token server that `registry`, asked at `asked`, names. Raises RegistryError where our login may not be sent there."""
    realm = URL()
    try:
        realm = URL(text)
        problem = forbidden_target(realm, asked)
    except ValueError:
        problem = "it is not a URL"
    if problem:
        raise RegistryError(f'registry "{registry}" names the token server "{text[:256]}", which gets no login: {problem}')
    return realm


def forbidden_target(url: URL, asked: URL) -> str:
    """Why a server asked at `asked` may not send us on to `url`, "" when it may."""
    if url.scheme not in ("http", "https") or not url.host:
        return "it is not an http or https URL"
    if url.user or url.password:
        return "it has a login in it"
    if url.scheme == "http" and asked.scheme == "https":
        return "it is plain HTTP, and the registry is not"
    if url.host != asked.host and is_local(url.host) and not is_local(asked.host or ""):
        return "it is an address of the machine that asks"
    return ""


def is_local(host: str) -> bool:
    """Whether `host` (no port) is this machine, or an address that is only meaningful beside it (link-local, unspecified, multicast)."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast


def read_token(response: Response, registry: str, names: Sequence[str]) -> tuple[str, JsonObject]:
    """A token server's token, which is under the first of `names` that has one, and all of its answer. Raises RegistryError."""
    try:
        document = parse_json(response.body)
    except ValueError:
        document = None
    if isinstance(document, dict):
        token = next(filter(None, map(document.get, names)), None)
        if isinstance(token, str) and token.isascii() and token.isprintable():
            return token, document
    raise RegistryError(f'the token server {response.url.host} of registry "{registry}" answered no token')


def basic(credentials: Credentials) -> str:
    """What Authorization has for a login."""
    return "Basic " + base64.b64encode(f"{credentials.username}:{credentials.secret}".encode()).decode()
