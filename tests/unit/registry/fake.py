"""A strict registry for manifests, in this process: it checks what it is sent, and fails in every way that it is told to."""

from __future__ import annotations

import base64
import json
import re
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from aiohttp import web

from kubectl_build.model.digest import sha256_digest

USER, PASSWORD, IDENTITY, READY_TOKEN = "me", "pa:ss", "identity-token", "ready-token"

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class FakeRegistry:
    """What the server holds and what it has seen. `answers` are given, in order, in place of the next requests to /v2/."""

    auth: Literal["none", "basic", "bearer"] = "none"
    scheme: str = "http"
    host: str = ""
    realm: str = ""
    allowed: str = "pull,push"
    anonymous_pull: bool = False
    manifests: dict[tuple[str, str], tuple[bytes, str]] = field(default_factory=dict)
    answers: deque[Answer] = field(default_factory=deque)
    requests: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    expired: set[str] = field(default_factory=set)
    scopes: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path}")
        self.authorizations.append(request.headers.get("Authorization", ""))
        if self.answers:
            return await self.answers.popleft()(request)
        if request.path == "/token":
            return await self._token(request)
        match = re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", request.path)
        if match is None:
            return refuse(404, "NAME_UNKNOWN", "no such thing")
        if (refused := self._check(request, match.group(1))) is not None:
            return refused
        return await self._manifest(request, match.group(1), match.group(2))

    def _check(self, request: web.Request, repository: str) -> web.Response | None:
        sent = request.headers.get("Authorization", "")
        actions = "pull,push" if request.method == "PUT" else "pull"
        if self.auth == "basic" and sent != basic(USER, PASSWORD):
            return refuse(401, "UNAUTHORIZED", "authentication required", challenge='Basic realm="fake"')
        good = {READY_TOKEN, *self.tokens} - self.expired
        if self.auth == "bearer" and sent not in {f"Bearer {token}" for token in good}:
            realm = self.realm or f"{self.url}/token"
            challenge = f'Bearer realm="{realm}",service="fake.service",scope="repository:{repository}:{actions}"'
            return refuse(401, "UNAUTHORIZED", "authentication required", challenge=challenge)
        if request.method == "PUT" and "push" not in self.allowed:
            return refuse(403, "DENIED", "requested access to the resource is denied")
        return None

    async def _token(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            form = await request.post()
            fields = {name: str(value) for name, value in form.items()}
            scopes = fields["scope"].split()
            good = fields.pop("refresh_token", "") == IDENTITY and fields.pop("grant_type", "") == "refresh_token" and "client_id" in fields
        else:
            fields, scopes = dict(request.query), request.query.getall("scope")
            sent = request.headers.get("Authorization", "")
            good = sent == basic(USER, PASSWORD) or (self.anonymous_pull and not sent)
        if not good or fields.get("service") != "fake.service":
            return refuse(401, "UNAUTHORIZED", "incorrect username or password")
        self.scopes.extend(scopes)
        self.tokens.append(f"token-{len(self.tokens)}")
        return web.json_response({"access_token" if request.method == "POST" else "token": self.tokens[-1]})

    async def _manifest(self, request: web.Request, repository: str, reference: str) -> web.Response:
        if request.method == "PUT":
            data = await request.read()
            media_type = json.loads(data)["mediaType"]
            if request.headers["Content-Type"] != media_type:
                return refuse(400, "MANIFEST_INVALID", "the media types differ")
            digest = sha256_digest(data)
            for name in (reference, digest):
                self.manifests[repository, name] = (data, media_type)
            return web.Response(status=201, headers={"Docker-Content-Digest": digest})
        if (repository, reference) not in self.manifests:
            return refuse(404, "MANIFEST_UNKNOWN", "manifest unknown")
        data, media_type = self.manifests[repository, reference]
        if media_type not in request.headers["Accept"]:
            return refuse(406, "UNSUPPORTED", "not acceptable")
        headers = {"Content-Type": media_type, "Docker-Content-Digest": sha256_digest(data)}
        return web.Response(body=data, headers=headers)


_Fake = TypeVar("_Fake", bound=FakeRegistry)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def refuse(status: int, code: str, message: str, *, challenge: str = "", headers: dict[str, str] | None = None) -> web.Response:
    sent = dict(headers or {})
    if challenge:
        sent["WWW-Authenticate"] = challenge
    return web.json_response({"errors": [{"code": code, "message": message}]}, status=status, headers=sent)


def answering(status: int, code: str = "UNAVAILABLE", **headers: str) -> Answer:
    """An answer to put in `FakeRegistry.answers`; underscores in the names of `headers` stand for dashes."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return refuse(status, code, "told to", headers={name.replace("_", "-"): value for name, value in headers.items()})

    return answer


async def hang_up(request: web.Request) -> web.StreamResponse:
    """Close the connection in place of an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@asynccontextmanager
async def serve(fake: _Fake, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[_Fake]:
    """Run `fake` on a free port of 127.0.0.1 and set its host."""
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    fake.host = f"127.0.0.1:{runner.addresses[0][1]}"
    fake.scheme = "https" if tls else "http"
    try:
        yield fake
    finally:
        await runner.cleanup()
