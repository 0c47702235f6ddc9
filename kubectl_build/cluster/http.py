"""HTTP to one API server over aiohttp: TLS, proxy, credentials, deadlines, and every failure of theirs as one of our errors.

One session for everything, so that a build pays for one TCP and TLS handshake. Redirects are not followed: API servers send none, and
a login page is better shown as the refusal that it is.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from kubectl_build import __version__
from kubectl_build.cluster.answers import Action, Refusal, error_for
from kubectl_build.cluster.authentication import Authentication, ClientCertificate
from kubectl_build.cluster.config import Connection
from kubectl_build.cluster.tls import ssl_context
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import ApiUnreachable

_RETRIES = 4
_RETRY_SECONDS = 5.0
_CLOSE_SECONDS = 1.0
_IDLE_SECONDS = 45.0
"""API servers close idle connections after 90 s; a request must not meet one that is just being closed."""

Query = Sequence[tuple[str, str]]

T = TypeVar("T")


class _Refused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.status)
        self.refusal = refusal


class ApiTransport:
    """Sends requests as the connection's user. Made by `open_transport`; every method may be used by many tasks at once."""

    def __init__(self, connection: Connection, session: aiohttp.ClientSession) -> None:
        self._connection = connection
        self._session = session
        self._contexts: dict[ClientCertificate | None, ssl.SSLContext] = {}
        self._date = ""

    @property
    def server_time(self) -> datetime | None:
        """The server's clock when it gave its newest answer, in whole seconds; None before the first, or if it said none."""
        try:
            return parsedate_to_datetime(self._date)
        except ValueError:
            return None

    async def request(
        self,
        method: str,
        path: str,
        *,
        action: Action | None,
        query: Query = (),
        body: bytes = b"",
        content_type: str = "application/json",
        accept: str = "",
    ) -> bytes:
        """Return the whole answer's body, of the type `accept` if that is said. Raises ApiError, ApiUnreachable and ConfigError.

        A server that is busy and says when to come back (429 or 5xx with Retry-After) is asked again a few times.
        """
        headers: dict[str, str] = {hdrs.CONTENT_TYPE: content_type} if body else {}
        if accept:
            headers[hdrs.ACCEPT] = accept

        async def exchange(authentication: Authentication) -> bytes:
            async with await self._send(method, path, query, headers, authentication, body or None) as response:
                data = await response.read()
                self._date = response.headers.get(hdrs.DATE, "")
                return data

        # A question is answered soon; what changes something may have to pass webhooks.
        limit = deadlines().read if method == "GET" else deadlines().request
        for attempt in range(_RETRIES + 1):
            try:
                return await self._as_user(exchange, limit)
            except _Refused as exc:
                wait = exc.refusal.retry_after
                if wait is None or attempt == _RETRIES or wait > _RETRY_SECONDS:
                    raise self._error(exc.refusal, action) from None
            await asyncio.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    @asynccontextmanager
    async def stream(self, path: str, *, action: Action, query: Query = ()) -> AsyncIterator[AsyncIterator[bytes]]:
        """GET an answer without end (a watch); its chunks come as they are, and stop when the server or the network stops."""

        async def begin(authentication: Authentication) -> aiohttp.ClientResponse:
            return await self._send("GET", path, query, {}, authentication, None)

        try:
            response = await self._as_user(begin, deadlines().read)
        except _Refused as exc:
            raise self._error(exc.refusal, action) from None
        try:
            yield _chunks(response)
        finally:
            response.close()

    async def websocket(self, path: str, *, action: Action, query: Query, protocols: Sequence[str]) -> aiohttp.ClientWebSocketResponse:
        """Upgrade a GET to a WebSocket without compression or message limit. The caller closes it. Raises as `request` does."""

        async def upgrade(authentication: Authentication) -> aiohttp.ClientWebSocketResponse:
            return await self._session.ws_connect(
                self._url(path, query),
                headers=self._headers({hdrs.ACCEPT: "*/*"}, authentication),  # kubelets refuse to upgrade for less
                protocols=protocols,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
                max_msg_size=0,
                compress=0,
                proxy=self._connection.proxy_url,
                ssl=self._context(authentication.certificate),
                server_hostname=self._connection.tls.server_name,
            )

        try:
            return await self._as_user(upgrade, deadlines().read)
        except _Refused as exc:
            raise self._error(exc.refusal, action) from None

    async def _as_user(self, exchange: Callable[[Authentication], Awaitable[T]], limit: float) -> T:
        """Do `exchange` within `limit` or --request-timeout, and again once if the credentials were refused and others can be had."""
        authenticator = self._connection.authenticator
        authentication = await authenticator.authenticate()  # outside of the deadline: a person may have to log in
        try:
            return await self._within(limit, exchange(authentication))
        except _Refused as exc:
            if exc.refusal.status != 401:
                raise
            renewed = await authenticator.authenticate(refused=True)
            if renewed == authentication:
                raise
        return await self._within(limit, exchange(renewed))

    async def _within(self, limit: float, exchange: Awaitable[T]) -> T:
        limit = self._connection.request_timeout or limit
        try:
            async with asyncio.timeout(limit):
                return await exchange
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise _unreachable(exc, self._connection, limit) from exc

    async def _send(
        self, method: str, path: str, query: Query, headers: Mapping[str, str], authentication: Authentication, data: bytes | None
    ) -> aiohttp.ClientResponse:
        return await self._session.request(
            method,
            self._url(path, query),
            headers=self._headers(headers, authentication),
            data=data,
            allow_redirects=False,
            proxy=self._connection.proxy_url,
            ssl=self._context(authentication.certificate),
            server_hostname=self._connection.tls.server_name,
        )

    def _url(self, path: str, query: Query) -> URL:
        # Parts are quoted already; a server's own path (https://host/clusters/x) stays in front.
        url = URL(self._connection.server + path, encoded=True)
        return url.with_query(list(query)) if query else url

    def _headers(self, headers: Mapping[str, str], authentication: Authentication) -> CIMultiDict[str]:
        result = CIMultiDict(headers)
        if authentication.authorization:
            result[hdrs.AUTHORIZATION] = authentication.authorization
        for name, value in self._connection.impersonation:
            result.add(name, value)
        return result

    def _context(self, certificate: ClientCertificate | None) -> ssl.SSLContext | bool:
        if not any(url.startswith("https:") for url in (self._connection.server, self._connection.proxy_url or "")):
            return True
        context = self._contexts.get(certificate)
        if context is None:
            self._contexts.clear()  # a certificate that was replaced is never used again
            context = self._contexts[certificate] = ssl_context(self._connection.tls, certificate)
        return context

    def _error(self, refusal: Refusal, action: Action | None) -> Exception:
        return error_for(refusal, action, server=self._connection.server, user=self._connection.user_name)


@asynccontextmanager
async def open_transport(connection: Connection) -> AsyncIterator[ApiTransport]:
    """Make the session; closing it closes every connection and WebSocket."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS, socket_factory=_kept_alive)
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={hdrs.USER_AGENT: f"kubectl-build/{__version__}", hdrs.ACCEPT: "application/json"},
        timeout=aiohttp.ClientTimeout(total=None, connect=deadlines().connect),
        raise_for_status=_refuse,
    ) as session:
        yield ApiTransport(connection, session)


async def _refuse(response: aiohttp.ClientResponse) -> None:
    """Read a refusal's body while aiohttp still has it: a failed upgrade to a WebSocket would throw it away."""
    if response.status == 101 or 200 <= response.status < 300:
        return
    body = await response.read()
    retry_after = response.headers.get(hdrs.RETRY_AFTER, "")
    seconds = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else None
    busy = response.status == 429 or response.status >= 500
    raise _Refused(Refusal(status=response.status, body=body, retry_after=seconds if busy else None))


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, OSError, TimeoutError):
        return  # a broken watch ends like one that the server ended: the caller lists again, and that tells what is wrong


def _kept_alive(address: tuple[Any, ...]) -> socket.socket:
    """A watch that waits sends nothing, so the kernel must find out that the other end is gone: after some 30 s."""
    family, kind, protocol = address[:3]
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return sock


def _unreachable(exc: Exception, connection: Connection, deadline: float) -> ApiUnreachable:
    server = connection.server
    hint = f'check the cluster of context "{connection.context_name}", and the network to it' if connection.context_name else None
    match exc:
        case aiohttp.ClientHttpProxyError():
            proxy = _without_password(connection.proxy_url)
            message = f"the proxy {proxy} does not lead to the API server {server}: it answered {exc.status}"
            return ApiUnreachable(message, hint="check the proxy")
        case aiohttp.ClientProxyConnectionError():
            proxy = _without_password(connection.proxy_url)
            return ApiUnreachable(f"cannot reach the proxy {proxy} to the API server {server}: {_cause(exc)}", hint="check the proxy")
        case aiohttp.ClientConnectorCertificateError():
            hint = "check certificate-authority and tls-server-name of the kubeconfig's cluster"
            return ApiUnreachable(f"the certificate of the API server {server} is not trusted: {_verify_message(exc)}", hint=hint)
        case aiohttp.ClientConnectorDNSError():
            host = urlsplit(server).hostname
            return ApiUnreachable(f'cannot reach the API server {server}: the name "{host}" is not known ({_cause(exc)})', hint=hint)
        case aiohttp.ClientSSLError():
            return ApiUnreachable(f"cannot reach the API server {server}: TLS failed: {_cause(exc)}", hint=hint)
        case aiohttp.ConnectionTimeoutError():
            return ApiUnreachable(f"cannot reach the API server {server}: no connection within {deadlines().connect:g} s", hint=hint)
        case aiohttp.WSServerHandshakeError():
            message = f"the API server {server}, or a proxy before it, makes no WebSocket: {exc.message}"
            return ApiUnreachable(message, hint="check the proxy")
        case aiohttp.ServerTimeoutError() | TimeoutError():
            return ApiUnreachable(f"the API server {server} did not answer within {deadline:g} s", hint=hint)
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return ApiUnreachable(f"the API server {server} closed the connection before its answer was complete", hint=hint)
    return ApiUnreachable(f"cannot reach the API server {server}: {_cause(exc)}", hint=hint)


def _cause(exc: Exception) -> str:
    found: BaseException = exc.os_error if isinstance(exc, aiohttp.ClientConnectorError) else exc
    if isinstance(found, ssl.SSLError):
        return found.reason or str(found)
    if isinstance(found, OSError) and found.errno:
        # asyncio joins the failures of several addresses into one text; the errno still says which it was.
        return (str(found.strerror) if isinstance(found, socket.gaierror) else os.strerror(found.errno)).lower()
    return str(found) or type(found).__name__


def _verify_message(exc: aiohttp.ClientConnectorCertificateError) -> str:
    found = exc.certificate_error
    return getattr(found, "verify_message", "") or str(found)


def _without_password(url: str | None) -> str:
    return str(URL(url).with_user(None)) if url else ""
