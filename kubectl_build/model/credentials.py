"""Who we are to a registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A registry login. `username` is empty when `secret` is an identity (refresh) token, as docker's config and BuildKit's Auth have it."""

    username: str
    secret: str

    def __repr__(self) -> str:
        return "Credentials(...)"


class Keychain(Protocol):
    """Finds the login for a registry."""

    async def resolve(self, host: str, repository: str = "") -> Credentials | None:
        """Return the login for `host` (host or host:port, docker.io in any spelling) or None for anonymous.

        `repository` (path without host) narrows the choice where keys carry a path, as the kubelet does. Raises ConfigError.
        """
