"""HTTP to a registry and to those that it names: bounded, retried, converted errors, and over any byte stream.

With a dial every connection goes through a stream that it makes (nc in a builder's pod); names are then resolved there, and TLS still ends
here. aiohttp gets such a stream as a socket of its own: the connector's socket factory, which is public, makes sockets that connect to
the stream's bridge whatever address they are asked for.
"""

from __future__ import annotations

import asyncio
import email.utils
import errno
import random
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import aiohttp.abc
from yarl import URL

from kubectl_build.errors import ConfigError, ConnectionLost, DialError, KubectlBuildError, RegistryError
from kubectl_build.model.stream import Dialer
from kubectl_build.transport.bridge import Bridge, bridge

Dial = Callable[[str, int], Dialer]
"""Returns what makes streams to a host (a name, resolved at the other end) and port."""

MAX_BODY = 4 * 1024 * 1024
"""The size that the distribution specification lets a registry refuse for a manifest."""

_DEADLINE = 10.0
_TRANSIENT = frozenset({500, 502, 503, 504})
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"})
_UNKNOWN_CA = frozenset({18, 19, 20, 21})  # X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT and the three that follow it


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryTrust:
    """How a registry is reached, with the meaning of BuildKit's [registry."HOST"].

    `ca_pem` holds authorities beside the system's. `http` is plain HTTP. `insecure` is HTTPS that does not verify, then plain HTTP where
    the registry speaks no TLS.
    """

    ca_pem: str = ""
    insecure: bool = False
    http: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how patiently a request is tried again after a reset, a transient 5xx or 429. Times are seconds."""

    attempts: int = 4
    backoff: float = 0.25
    longest_retry_after: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer, read to its end. `headers` are found in any case."""

    status: int
    headers: Mapping[str, str]
    challenges: tuple[str, ...]
    body: bytes
    url: URL


class NoTls(RegistryError):
    """The server answered a TLS greeting with something that is not TLS."""


class Refused(RegistryError):
    """Nothing listens at the address."""


class _Broken(RegistryError):
    """The connection ended before the answer did: worth another try."""


class Http:
    """Requests to a registry and to the hosts it refers to, each over connections of its own. Made by `open_http`."""

    def __init__(self, registry: str, trust: RegistryTrust, dial: Dial | None, retry: RetryPolicy, stack: AsyncExitStack) -> None:
        self._registry = registry
        self._dial = dial
        self._retry = retry
        self._stack = stack
        self._tls = _tls_context(registry, trust)
        self._links: dict[tuple[str, int], _Link] = {}
        self._opening = asyncio.Lock()

    async def send(self, method: str, url: URL, *, headers: Mapping[str, str], body: bytes | None = None, form: bool = False) -> Response:
        """Make one request (each try within 10 s) and return its answer, whatever its status, but follow no redirect.

        Raises RegistryError when there is no answer; NoTls and Refused where only another scheme may help.
        """
        link = await self._link(url)
        sent = {"Accept-Encoding": "identity", "User-Agent": "kubectl-build", **headers}
        if form:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        for attempt in range(1, self._retry.attempts + 1):
            last = attempt == self._retry.attempts
            pause = self._retry.backoff * 2 ** (attempt - 1) * random.uniform(0.5, 1.0)
            try:
                response = await self._once(link, method, url, sent, body)
            except _Broken:
                if last:
                    raise
            else:
                wait = self._pause_after(response, pause)
                if last or wait is None:
                    return response
                pause = wait
            await asyncio.sleep(pause)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _pause_after(self, response: Response, backoff: float) -> float | None:
        """Seconds to wait before another try, None when the answer is final."""
        if response.status not in _TRANSIENT and response.status != 429:
            return None
        asked = retry_after(response.headers)
        if asked is None:
            return backoff
        return asked if asked <= self._retry.longest_retry_after else None

    async def _once(self, link: _Link, method: str, url: URL, headers: Mapping[str, str], body: bytes | None) -> Response:
        with _converted(self._registry, url, link):
            async with asyncio.timeout(_DEADLINE):
                request = link.session.request(method, url, headers=headers, data=body, allow_redirects=False)
                async with request as answer:
                    data = await _read(answer)
        challenges = tuple(answer.headers.getall("WWW-Authenticate", ()))
        return Response(status=answer.status, headers=answer.headers, challenges=challenges, body=data, url=url)

    async def _link(self, url: URL) -> _Link:
        key = (url.host or "", url.port or 0)
        async with self._opening:
            if key not in self._links:
                self._links[key] = await self._stack.enter_async_context(_open_link(key, self._tls, self._dial))
            return self._links[key]


@asynccontextmanager
async def open_http(registry: str, *, trust: RegistryTrust, dial: Dial | None, retry: RetryPolicy) -> AsyncIterator[Http]:
    """Requests on behalf of `registry` (its name in messages). All connections end with the context. Raises ConfigError for a bad CA."""
    async with AsyncExitStack() as stack:
        yield Http(registry, trust, dial, retry, stack)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks for (a number or a date), None when there is none that can be read."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


@dataclass(slots=True)
class _Link:
    """Connections to one host and port."""

    session: aiohttp.ClientSession
    bridge: Bridge | None


@asynccontextmanager
async def _open_link(address: tuple[str, int], tls: ssl.SSLContext, dial: Dial | None) -> AsyncIterator[_Link]:
    async with AsyncExitStack() as stack:
        remote = await stack.enter_async_context(bridge(dial(*address))) if dial else None
        if remote is None:
            connector = aiohttp.TCPConnector(ssl=tls)
        else:
            connector = aiohttp.TCPConnector(ssl=tls, resolver=_ResolvedElsewhere(), socket_factory=_sockets_to(remote.target))
        session = aiohttp.ClientSession(
            connector=connector,
            trust_env=dial is None,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),  # ours is around each request
        )
        yield _Link(await stack.enter_async_context(session), remote)


class _ResolvedElsewhere(aiohttp.abc.AbstractResolver):
    """Gives any name an address that is never used: the far end of the bridge resolves it."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[aiohttp.abc.ResolveResult]:
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        pass


class _BridgeSocket(socket.socket):
    """A socket that connects to `address`, whatever it is told."""

    address: str | tuple[str, int]

    def connect(self, address: Any) -> None:
        super().connect(self.address)


def _sockets_to(target: str) -> Callable[[Any], socket.socket]:
    scheme, _, rest = target.partition(":")

    def make(_: Any) -> socket.socket:
        sock = _BridgeSocket(socket.AF_UNIX if scheme == "unix" else socket.AF_INET, socket.SOCK_STREAM)
        host, _, port = rest.rpartition(":")
        sock.address = rest if scheme == "unix" else (host, int(port))
        sock.setblocking(False)
        return sock

    return make


def _tls_context(registry: str, trust: RegistryTrust) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if trust.ca_pem:
        try:
            context.load_verify_locations(cadata=trust.ca_pem)
        except (ssl.SSLError, ValueError) as exc:
            raise ConfigError(f'the CA certificate for registry "{registry}" is not valid PEM: {exc}') from exc
    if trust.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for chunk in answer.content.iter_chunked(64 * 1024):
        data += chunk
        if len(data) > MAX_BODY:
            raise RegistryError(f"{answer.url.host} answered with more than {MAX_BODY // 1024 // 1024} MiB", status=answer.status)
    return bytes(data)


@contextmanager
def _converted(registry: str, url: URL, link: _Link) -> Iterator[None]:
    """Turn what aiohttp raises into a RegistryError that says who could not be reached, from where, and why."""
    who = f'registry "{registry}"'
    if url.host and url.host not in (registry.partition(":")[0], registry):
        who += f" (at {url.authority})"
    if link.bridge is not None:
        link.bridge.failure = None
    try:
        yield
    except TimeoutError as exc:
        raise RegistryError(f"{who} did not answer within {_DEADLINE:.0f} s") from exc
    except aiohttp.ClientConnectorCertificateError as exc:
        raise _untrusted(who, registry, exc.certificate_error) from exc
    except aiohttp.ClientConnectorSSLError as exc:
        reason = getattr(exc.os_error, "reason", None) or str(exc.os_error)
        if reason in _NO_TLS:
            hint = f"if it is meant to speak plain HTTP, push with -o type=registry,registry.insecure=true, or set http for {registry}"
            raise NoTls(f"{who} answers plain HTTP where HTTPS is expected", hint=hint) from exc
        raise _from_bridge(link, who) or RegistryError(f"{who} cannot be reached: TLS failed: {reason}") from exc
    except aiohttp.ClientConnectorDNSError as exc:
        raise RegistryError(f"{who} cannot be reached: the name {url.host} is not known here") from exc
    except aiohttp.ClientConnectorError as exc:
        if exc.os_error.errno == errno.ECONNREFUSED:
            raise Refused(f"{who} cannot be reached: connection to {url.authority} refused") from exc
        if exc.os_error.errno in (errno.ECONNRESET, errno.EPIPE):  # in the TLS handshake, so nothing was sent
            raise _from_bridge(link, who) or _Broken(f"the connection to {who} broke: {exc.os_error.strerror}") from exc
        raise RegistryError(f"{who} cannot be reached: {exc.os_error.strerror or exc.os_error}") from exc
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, aiohttp.ClientOSError) as exc:
        raise _from_bridge(link, who) or _Broken(f"the connection to {who} broke: {exc}") from exc
    except (aiohttp.ClientError, ValueError) as exc:
        raise RegistryError(f"{who} cannot be used: {exc}") from exc


def _from_bridge(link: _Link, who: str) -> KubectlBuildError | None:
    """Why the stream behind the bridge failed, if that is what happened.

    One that could not be made is the registry's failure as the pod sees it, one that merely broke is worth another try, and what the
    Kubernetes API says about the exec (forbidden, no such pod) passes as it is.
    """
    failure = link.bridge.failure if link.bridge else None
    if failure is None or not isinstance(failure, ConnectionLost):
        return failure
    kind = RegistryError if isinstance(failure, DialError) else _Broken
    return kind(f"{who} cannot be reached from the builder: {failure.message}", hint=failure.hint)


def _untrusted(who: str, registry: str, exc: Exception) -> RegistryError:
    why = getattr(exc, "verify_message", "") or str(exc)
    hint = None
    if getattr(exc, "verify_code", None) in _UNKNOWN_CA:
        hint = (
            f'give the builder its CA: "ca" under [registry."{registry}"] in kubectl buildkit create --buildkitd-config FILE, '
            f"or registries of the ConfigMap kubectl-build-defaults"
        )
    return RegistryError(f"the certificate of {who} is not trusted: {why}", hint=hint)
