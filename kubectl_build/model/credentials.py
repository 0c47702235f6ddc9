"""Who we are to a registry."""

from __future__ import annotations

from typing import Protocol

from kubectl_build.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A registry login, as docker's config and BuildKit's Auth have it.

    `username` is empty when `secret` is an identity (refresh) token. `registry_token` is a ready bearer token; BuildKit's session has no
    way to hand one to a daemon, so then `username` and `secret` are empty and only our own requests use it.
    """

    username: str
    secret: str
    registry_token: str = ""

    def __repr__(self) -> str:
        return "Credentials(...)"


class Keychain(Protocol):
    """Finds the login for a registry."""

    async def resolve(self, host: str, repository: str = "") -> Credentials | None:
        """Return the login for `host` (host or host:port, docker.io in any spelling) or None for anonymous.

        `repository` (path without host) narrows the choice where keys carry a path, as the kubelet does. Raises ConfigError.
        """
