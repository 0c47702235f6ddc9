"""A registry that wants tokens: a real one behind a door that issues and asks for them, and remembers who asked for what."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

USER, PASSWORD = "robot", "a long pass word"


@dataclass
class TokenRegistry:
    """`posts` and `gets` are the token requests that had the right login, as they came; `refused` counts the others."""

    behind: str
    address: str = ""
    posts: list[dict[str, str]] = field(default_factory=list)
    gets: list[list[tuple[str, str]]] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)
    refused: int = 0
    takes_posts: bool = True
    _tokens: set[str] = field(default_factory=set)

    async def token(self, request: web.Request) -> web.Response:
        """The token server."""
        self.agents.append(request.headers.get("User-Agent", ""))
        if request.method == "POST":
            form = {name: str(value) for name, value in (await request.post()).items()}
            if not self.takes_posts:
                return web.Response(status=404)
            good = (form.get("username"), form.get("password")) == (USER, PASSWORD)
        else:
            form = {}
            good = request.headers.get("Authorization", "") == "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if not good:
            self.refused += 1
            return web.json_response({"errors": [{"code": "UNAUTHORIZED", "message": "who are you"}]}, status=401)
        if request.method == "POST":
            self.posts.append(form)
        else:
            self.gets.append(list(request.query.items()))
        token = f"token-{len(self._tokens)}"
        self._tokens.add(token)
        return web.json_response({"access_token": token, "token": token, "expires_in": 300})

    async def registry(self, request: web.Request) -> web.StreamResponse:
        """The door: whoever has a token passes to the registry behind."""
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self._tokens:
            name = request.path.removeprefix("/v2/").partition("/blobs/")[0].partition("/manifests/")[0]
            challenge = f'Bearer realm="http://{self.address}/token",service="the service",scope="repository:{name}:pull,push"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        async with aiohttp.ClientSession(auto_decompress=False) as client:
            headers = {name: value for name, value in request.headers.items() if name not in ("Authorization", "Transfer-Encoding")}
            body = io.BytesIO(await request.read())
            async with client.request(
                request.method, f"http://{self.behind}{request.raw_path}", headers=headers, data=body, allow_redirects=False
            ) as answer:
                kept = {name: value for name, value in answer.headers.items() if name not in ("Transfer-Encoding", "Content-Length")}
                return web.Response(status=answer.status, headers=kept, body=await answer.read())


@asynccontextmanager
async def serve(registry: TokenRegistry, host: str = "127.0.0.1") -> AsyncIterator[TokenRegistry]:
    """Run it on a free port of `host`, without TLS, and set its address."""
    application = web.Application(client_max_size=64 << 20)
    application.router.add_route("*", "/token", registry.token)
    application.router.add_route("*", "/v2/{path:.*}", registry.registry)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, host, 0).start()
    registry.address = f"{host}:{runner.addresses[0][1]}"
    try:
        yield registry
    finally:
        await runner.cleanup()
