"""Tokens from a token server that says what it was asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from kubectl_build.errors import RegistryError
from kubectl_build.model.credentials import Credentials
from kubectl_build.model.tokens import Token, TokenRequest
from kubectl_build.registry.http import RegistryTrust, RetryPolicy
from kubectl_build.registry.tokens import RegistryTokens
from tests.unit.registry.conftest import Certificates
from tests.unit.registry.fake import basic

_LOGIN = Credentials(username="me", secret="pa:ss")
_IDENTITY = Credentials(username="", secret="identity")
_SCOPES = ("repository:team/app:pull,push", "repository:base:pull")


@dataclass
class TokenServer:
    """Answers `answers` by method; `requests` has what it was sent: method, query or form, Authorization."""

    answers: Mapping[str, tuple[int, Any]]
    requests: list[tuple[str, list[tuple[str, str]], str]] = field(default_factory=list)
    host: str = ""
    challenges: tuple[str, ...] = ()

    async def registry(self, request: web.Request) -> web.Response:
        response = web.Response(status=401)
        for challenge in self.challenges:
            response.headers.add("WWW-Authenticate", challenge)
        return response

    async def handle(self, request: web.Request) -> web.Response:
        fields = await request.post() if request.method == "POST" else request.query
        told = [(name, str(value)) for name, value in fields.items()]
        self.requests.append((request.method, told, request.headers.get("Authorization", "")))
        status, body = self.answers[request.method]
        return web.Response(status=status, text=body if isinstance(body, str) else json.dumps(body), content_type="application/json")

    def asked(self, scheme: str = "http", **changed: Any) -> TokenRequest:
        values = {"host": self.host, "realm": f"{scheme}://{self.host}/token", "service": "a service", "scopes": _SCOPES}
        return TokenRequest(**{**values, **changed})


@asynccontextmanager
async def _serve(server: TokenServer, certificates: Certificates | None = None) -> AsyncIterator[TokenServer]:
    application = web.Application()
    application.router.add_route("*", "/token", server.handle)
    application.router.add_route("GET", "/v2/", server.registry)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=certificates.server if certificates else None).start()
    server.host = f"127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


_QUERY = [("service", "a service"), ("scope", _SCOPES[0]), ("scope", _SCOPES[1])]
_FORM = [("client_id", "buildkit-client"), ("service", "a service"), ("scope", " ".join(_SCOPES))]
_GOOD = {"access_token": "good", "expires_in": 300, "issued_at": "2026-01-02T03:04:05.123456789Z"}
_TOKEN = Token(value="good", expires_in=300, issued_at=1767323045)


async def test_password_is_posted_in_the_form() -> None:
    async with _serve(TokenServer({"POST": (200, _GOOD)})) as server:
        assert await RegistryTokens().fetch(server.asked(), _LOGIN) == _TOKEN

    assert server.requests == [("POST", [*_FORM, ("grant_type", "password"), ("username", "me"), ("password", "pa:ss")], "")]


async def test_login_goes_to_another_host_only_where_the_registry_names_it() -> None:
    async with _serve(TokenServer({"POST": (200, _GOOD)})) as server:
        elsewhere = f"http://localhost:{server.host.rpartition(':')[2]}/token"
        with pytest.raises(RegistryError, match=r'"localhost", which gets no login: registry "127\.0\.0\.1:'):
            await RegistryTokens().fetch(server.asked(realm=elsewhere), _LOGIN)
        assert server.requests == []

        server.challenges = (f'Bearer realm="{elsewhere}",service="s"',)
        assert await RegistryTokens().fetch(server.asked(realm=elsewhere), _LOGIN) == _TOKEN


async def test_identity_token_is_posted_as_a_refresh_token() -> None:
    async with _serve(TokenServer({"POST": (200, _GOOD)})) as server:
        assert await RegistryTokens().fetch(server.asked(), _IDENTITY) == _TOKEN

    assert server.requests == [("POST", [*_FORM, ("grant_type", "refresh_token"), ("refresh_token", "identity")], "")]


@pytest.mark.parametrize("status", [401, 404, 405])
async def test_server_without_post_is_asked_by_get(status: int) -> None:
    async with _serve(TokenServer({"POST": (status, {}), "GET": (200, {**_GOOD, "token": "other"})})) as server:
        assert await RegistryTokens().fetch(server.asked(), _LOGIN) == _TOKEN

    assert server.requests[1:] == [("GET", _QUERY, basic("me", "pa:ss"))]


async def test_identity_token_that_may_not_be_posted_is_not_sent_otherwise() -> None:
    async with _serve(TokenServer({"POST": (405, {})})) as server:
        with pytest.raises(RegistryError, match="answered 405"):
            await RegistryTokens().fetch(server.asked(), _IDENTITY)

    assert len(server.requests) == 1


@pytest.mark.parametrize("nobody", [None, Credentials(username="", secret=""), Credentials(username="me", secret="")])
async def test_nobody_asks_by_get_without_a_login(nobody: Credentials | None) -> None:
    async with _serve(TokenServer({"GET": (200, {"token": "good"})})) as server:
        assert await RegistryTokens().fetch(server.asked(), nobody) == Token(value="good", expires_in=60)

    assert server.requests == [("GET", _QUERY, "")]


async def test_query_of_the_realm_is_kept_and_what_is_empty_is_not_asked() -> None:
    async with _serve(TokenServer({"GET": (200, {"token": "good"})})) as server:
        realm = f"http://{server.host}/token?account=a%20b"
        await RegistryTokens().fetch(server.asked(realm=realm, service="", scopes=()), None)

    assert server.requests == [("GET", [("account", "a b")], "")]


@pytest.mark.parametrize("told", [{}, {"expires_in": 0}, {"expires_in": "soon", "issued_at": "now"}, {"issued_at": 7}, {"issued_at": None}])
async def test_expiry_that_is_not_told_is_a_minute_from_now(told: dict[str, Any]) -> None:
    async with _serve(TokenServer({"GET": (200, {"token": "good", **told})})) as server:
        assert await RegistryTokens().fetch(server.asked(), None) == Token(value="good", expires_in=60)


@pytest.mark.parametrize("body", ["", "[]", "nonsense", {"token": ""}, {"token": 7}, {"token": "two\nlines"}, {"access_token": None}])
async def test_answer_without_a_token_is_an_error(body: Any) -> None:
    async with _serve(TokenServer({"GET": (200, body)})) as server:
        with pytest.raises(RegistryError, match=r"the token server 127\.0\.0\.1 of registry .* answered no token"):
            await RegistryTokens().fetch(server.asked(), None)


async def test_login_that_is_refused_is_told_without_it() -> None:
    refused = {"errors": [{"code": "UNAUTHORIZED", "message": "incorrect username or password"}]}
    async with _serve(TokenServer({"POST": (401, refused), "GET": (401, refused)})) as server:
        with pytest.raises(RegistryError) as caught:
            await RegistryTokens().fetch(server.asked(), _LOGIN)

    assert caught.value.status == 401
    assert f'registry "{server.host}" does not accept the login to push to "team/app"' in caught.value.message
    assert "pa:ss" not in caught.value.message


async def test_realm_that_does_not_answer_is_tried_again_and_told() -> None:
    async with _serve(TokenServer({"GET": (503, {})})) as server:
        with pytest.raises(RegistryError, match="answered 503"):
            await RegistryTokens(retry=RetryPolicy(attempts=2, backoff=0.0)).fetch(server.asked(), None)

    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("host", "realm", "why"),
    [
        ("reg.example", "http://auth.example/token", "it is plain HTTP, and the registry is not"),
        ("reg.example", "https://127.0.0.1:1/token", "it is an address of the machine that asks"),
        ("reg.example", "https://169.254.169.254/latest", "it is an address of the machine that asks"),
        ("reg.example", "file:///etc/passwd", "it is not an http or https URL"),
        ("reg.example", "https://[/", "it is not a URL"),
        ("127.0.0.1:5000", "http://me:word@127.0.0.1:5000/token", "it has a login in it"),
    ],
)
async def test_realm_that_may_not_get_a_login_is_refused(host: str, realm: str, why: str) -> None:
    with pytest.raises(RegistryError, match=f"which gets no login: {why}"):
        await RegistryTokens().fetch(TokenRequest(host=host, realm=realm), _LOGIN)


async def test_tls_of_a_token_server_is_verified_with_the_registrys_authority(certificates: Certificates) -> None:
    async with _serve(TokenServer({"GET": (200, {"token": "good"})}), certificates) as server:
        with pytest.raises(RegistryError, match="is not trusted"):
            await RegistryTokens().fetch(server.asked("https"), None)
        trusting = RegistryTokens(lambda _: RegistryTrust(ca_pem=certificates.ca_pem))
        assert (await trusting.fetch(server.asked("https"), None)).value == "good"


@pytest.mark.parametrize(
    ("challenges", "expected"),
    [
        (('Bearer realm="https://auth.example/token",service="s"',), True),
        (('Basic realm="r"', 'Bearer realm="https://auth.example/token"'), True),
        (('Basic realm="r"',), False),
        ((), False),
    ],
)
@pytest.mark.parametrize("tls", [False, True])
async def test_registry_takes_tokens_when_it_offers_bearer(
    certificates: Certificates, challenges: tuple[str, ...], expected: bool, tls: bool
) -> None:
    async with _serve(TokenServer({}, challenges=challenges), certificates if tls else None) as server:
        tokens = RegistryTokens(lambda _: RegistryTrust(ca_pem=certificates.ca_pem))
        assert await tokens.takes_tokens(server.host) is expected


async def test_registry_that_cannot_be_asked_for_tokens_is_an_error() -> None:
    async with _serve(TokenServer({})) as server:
        pass
    with pytest.raises(RegistryError, match="cannot be reached"):
        await RegistryTokens().takes_tokens(server.host)


@pytest.mark.parametrize(
    ("scopes", "repository"),
    [
        ((), ""),
        (("registry:catalog:*",), ""),
        (("repository:a/b:pull",), "a/b"),
        (("registry:catalog:*", "repository:reg:5000/a:pull,push", "repository:c:pull"), "reg:5000/a"),
        (("repository:",), ""),
    ],
)
def test_token_request_names_its_first_repository(scopes: tuple[str, ...], repository: str) -> None:
    assert TokenRequest(host="h", realm="r", scopes=scopes).repository == repository


def test_token_shows_no_value() -> None:
    assert "good" not in repr(_TOKEN)
