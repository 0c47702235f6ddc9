"""Tokens of registries, fetched by this client for a daemon that shall not have the login."""

from __future__ import annotations

from typing import Protocol

from kubectl_build.model.credentials import Credentials
from kubectl_build.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """What a daemon asks for: a token of registry `host` (docker.io is registry-1.docker.io) from the server at `realm`, a URL.

    `service` and `scopes` ("repository:NAME:ACTIONS") are what the registry's challenge said; both may be empty.
    """

    host: str
    realm: str
    service: str = ""
    scopes: tuple[str, ...] = ()

    @property
    def repository(self) -> str:
        """The first repository of `scopes`, "" when there is none."""
        for scope in self.scopes:
            kind, _, rest = scope.partition(":")
            name, colon, _ = rest.rpartition(":")
            if kind == "repository" and colon:
                return name
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A bearer token. `expires_in` is in seconds, `issued_at` in seconds since 1970, 0 where the server did not say."""

    value: str
    expires_in: int
    issued_at: int = 0

    def __repr__(self) -> str:
        return f"Token(..., expires_in={self.expires_in})"


class TokenFetcher(Protocol):
    """Asks registries and their token servers."""

    async def takes_tokens(self, host: str) -> bool:
        """Whether registry `host` takes tokens, so that a daemon needs no login there. Raises RegistryError when it cannot be asked."""

    async def fetch(self, request: TokenRequest, credentials: Credentials | None) -> Token:
        """Return a token for `credentials`, None for everybody. Raises RegistryError, also where the realm may not get a login."""
