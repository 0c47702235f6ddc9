"""Connections to one host and port, directly or over any byte stream.

With a dial every connection goes through a stream that it makes (nc in a builder's pod); names are then resolved there, and TLS still ends
here. aiohttp gets such a stream as a socket of its own: the connector's socket factory, which is public, makes sockets that connect to
the stream's bridge whatever address they are asked for.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import aiohttp.abc

from kubectl_build.errors import ConfigError
from kubectl_build.model.stream import Dialer
from kubectl_build.transport.bridge import Bridge, bridge
from kubectl_build.values import dataclass

Dial = Callable[[str, int], Dialer]
"""Returns what makes streams to a host (a name, resolved at the other end) and port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryTrust:
    """How a registry is reached, with the meaning of BuildKit's [registry."HOST"].

    `ca_pem` holds authorities beside the system's. `http` is plain HTTP. `insecure` is HTTPS that does not verify, then plain HTTP where
    the registry speaks no TLS.
    """

    ca_pem: str = ""
    insecure: bool = False
    http: bool = False


@dataclass(slots=True)
class Link:
    """Connections to one host and port."""

    session: aiohttp.ClientSession
    bridge: Bridge | None


@asynccontextmanager
async def open_link(address: tuple[str, int], tls: ssl.SSLContext, dial: Dial | None) -> AsyncIterator[Link]:
    """Make ready for connections to `address` (host, port); none is made yet, and all end with the context."""
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
        yield Link(await stack.enter_async_context(session), remote)


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


def tls_context(registry: str, trust: RegistryTrust) -> ssl.SSLContext:
    """What `trust` means for TLS. Raises ConfigError when its CA is not PEM."""
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
