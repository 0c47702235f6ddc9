"""How a request proves who sends it: the header, the client certificate, and where they come from.

Plain sources are here; exec plugins are in exec_plugin.py, the rest goes through the package kubernetes in delegated.py.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import Protocol

from kubectl_build.errors import ConfigError
from kubectl_build.values import dataclass

_TOKEN_FILE_SECONDS = 60.0
"""How long a token read from a file is used: client-go re-reads as often, and the kubelet writes a new one long before the old expires."""


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate chain and its private key, both PEM."""

    chain: bytes = field(repr=False)
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentication:
    """What to send with a request: the Authorization header's value (may be empty) and the certificate of the TLS connection."""

    authorization: str = field(default="", repr=False)
    certificate: ClientCertificate | None = None


class Authenticator(Protocol):
    """Knows who we are to one API server."""

    async def authenticate(self, *, refused: bool = False) -> Authentication:
        """Return what is valid now; `refused` says that the server has just answered 401, so anything cached is bad.

        Raises ConfigError when the credentials cannot be had.
        """


@dataclass(frozen=True, slots=True)
class Fixed:
    """Credentials that never change: certificate, token, basic, or none at all."""

    authentication: Authentication = field(default_factory=Authentication)

    async def authenticate(self, *, refused: bool = False) -> Authentication:
        return self.authentication


class TokenFile:
    """A bearer token in a file that somebody replaces from time to time (a pod's service account)."""

    def __init__(self, path: Path, *, certificate: ClientCertificate | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._certificate = certificate
        self._clock = clock
        self._read_at = float("-inf")
        self._token = ""

    async def authenticate(self, *, refused: bool = False) -> Authentication:
        if refused or self._clock() - self._read_at >= _TOKEN_FILE_SECONDS:
            self._token = self._read()
            self._read_at = self._clock()
        return Authentication(authorization=f"Bearer {self._token}", certificate=self._certificate)

    def _read(self) -> str:
        try:
            token = self.path.read_text().strip()
        except (OSError, ValueError) as exc:
            raise ConfigError(f"cannot read the token file {self.path}: {_reason(exc)}") from exc
        if not token:
            raise ConfigError(f"the token file {self.path} is empty")
        return token


def bearer(token: str) -> str:
    """Return the Authorization header for a bearer token."""
    return f"Bearer {token}"


def basic(username: str, password: str) -> str:
    """Return the Authorization header for a user name and a password."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def _reason(exc: Exception) -> str:
    return (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
