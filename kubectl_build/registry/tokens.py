"""Tokens fetched from this machine for a daemon, as BuildKit's own client does (session/auth/authprovider).

A login is tried by POST (oauth2), then by GET where the server knows no POST; nobody's token is asked for by GET.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from yarl import URL

from kubectl_build.errors import RegistryError
from kubectl_build.model.credentials import Credentials
from kubectl_build.model.tokens import Token, TokenRequest
from kubectl_build.registry.answers import refusal
from kubectl_build.registry.authorization import basic, is_local, parse_challenges, read_token, token_server
from kubectl_build.registry.http import Http, NoTls, Refused, RegistryTrust, Response, RetryPolicy, open_http

DEFAULT_EXPIRY: Final = 60
"""Seconds that a token counts as good where its server does not say (BuildKit and the token specification)."""

_LONGEST_EXPIRY: Final = (1 << 31) - 1
_CLIENT_ID: Final = "buildkit-client"
_NO_POST: Final = (401, 404, 405)  # JFrog Artifactory, GCR, and those that say what they mean


class RegistryTokens:
    """A TokenFetcher that connects directly, or by the environment's proxies. `trust` is how a registry's servers are reached, by host."""

    def __init__(self, trust: Callable[[str], RegistryTrust] | None = None, *, retry: RetryPolicy | None = None) -> None:
        self._trust = trust or (lambda host: RegistryTrust())
        self._retry = retry or RetryPolicy()

    async def takes_tokens(self, host: str) -> bool:
        """TokenFetcher.takes_tokens: whether the answer to nobody's request, of whatever status, offers Bearer."""
        trust = self._trust(host)
        async with open_http(host, trust=trust, dial=None, retry=self._retry) as http:
            return bool(await _bearer_realms(http, host, trust, "/v2/"))

    async def fetch(self, request: TokenRequest, credentials: Credentials | None) -> Token:
        """TokenFetcher.fetch. The daemon says what the registry's realm is, so a login goes to another host only where the registry says so
        too."""
        trust = self._trust(request.host)
        asked = URL(f"{'http' if _may_be_plain(request.host, trust) else 'https'}://{request.host}")
        realm = token_server(request.realm, request.host, asked)
        login = credentials if credentials is not None and credentials.secret else None
        async with open_http(request.host, trust=trust, dial=None, retry=self._retry) as http:
            if login is not None and realm.host != URL(f"//{request.host}").host:
                await _check_named(http, realm, request, trust)
            response = await _ask(http, realm, request, login)
        if response.status != 200:
            actions = "pull,push" if any("push" in scope.rpartition(":")[2] for scope in request.scopes) else "pull"
            raise refusal(response, request.host, request.repository or "*", actions, logged_in=login is not None)
        return _read(response, request)


async def _check_named(http: Http, realm: URL, request: TokenRequest, trust: RegistryTrust) -> None:
    """Raise RegistryError unless the registry itself, asked by us, sends whoever wants a token to the host of `realm`."""
    for path in ("/v2/", f"/v2/{request.repository}/tags/list" if request.repository else ""):
        for named in await _bearer_realms(http, request.host, trust, path) if path else ():
            try:
                if URL(named).origin() == realm.origin():
                    return
            except ValueError:
                continue
    raise RegistryError(
        f'the builder asks for a token from "{realm.host}", which gets no login: registry "{request.host}" does not name it',
        hint="--auth-via=cluster lets the builder fetch its tokens itself",
    )


async def _bearer_realms(http: Http, host: str, trust: RegistryTrust, path: str) -> list[str]:
    """The realms of the Bearer challenges in the answer, of whatever status, to nobody's request."""
    try:
        response = await http.send("GET", URL(f"https://{host}{path}"), headers={})
    except (NoTls, Refused):
        if not _may_be_plain(host, trust):
            raise
        response = await http.send("GET", URL(f"http://{host}{path}"), headers={})
    return [challenge.parameters.get("realm", "") for challenge in parse_challenges(response.challenges) if challenge.scheme == "bearer"]


async def _ask(http: Http, realm: URL, request: TokenRequest, login: Credentials | None) -> Response:
    if login is not None:
        response = await http.send("POST", realm, headers={}, body=_form(request, login), form=True)
        if response.status not in _NO_POST or (response.status == 405 and not login.username):
            return response
    query = [("scope", scope) for scope in request.scopes]
    if request.service:
        query.insert(0, ("service", request.service))
    headers = {"Authorization": basic(login)} if login is not None else {}
    return await http.send("GET", realm.extend_query(query), headers=headers)


def _form(request: TokenRequest, login: Credentials) -> bytes:
    form = {"client_id": _CLIENT_ID, "service": request.service}
    if request.scopes:
        form["scope"] = " ".join(request.scopes)
    if login.username:
        form |= {"grant_type": "password", "username": login.username, "password": login.secret}
    else:
        form |= {"grant_type": "refresh_token", "refresh_token": login.secret}
    return urlencode(form).encode()


def _may_be_plain(host: str, trust: RegistryTrust) -> bool:
    """Whether a daemon may speak plain HTTP with `host`."""
    return trust.http or trust.insecure or is_local(URL(f"//{host}").host or "")


def _read(response: Response, request: TokenRequest) -> Token:
    value, document = read_token(response, request.host, ("access_token", "token"))
    expires = document.get("expires_in")
    return Token(
        value=value,
        expires_in=expires if isinstance(expires, int) and 0 < expires <= _LONGEST_EXPIRY else DEFAULT_EXPIRY,
        issued_at=_seconds(document.get("issued_at")),
    )


def _seconds(text: Any) -> int:
    """A time of RFC 3339 as seconds since 1970, 0 where it is none: the daemon then counts from now."""
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return 0
    return max(0, int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()))
