"""Clients of several registries, opened when first needed and closed together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from kubectl_build.model.credentials import Keychain
from kubectl_build.model.events import Sink
from kubectl_build.model.reference import Reference
from kubectl_build.registry.client import RegistryClient, RetryPolicy, open_registry
from kubectl_build.registry.http import Dial, RegistryTrust
from kubectl_build.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A repository and the client of its registry."""

    client: RegistryClient
    repository: str

    def __str__(self) -> str:
        return f"{self.client.host}/{self.repository}"


class Registries:
    """Made by `open_registries`."""

    def __init__(
        self,
        stack: AsyncExitStack,
        keychain: Keychain,
        trust: Callable[[str], RegistryTrust],
        dial: Dial | None,
        retry: RetryPolicy,
        emit: Sink | None,
    ) -> None:
        self._stack = stack
        self._keychain = keychain
        self._trust = trust
        self._dial = dial
        self._retry = retry
        self._emit = emit
        self._clients: dict[str, RegistryClient] = {}
        self._opening = asyncio.Lock()

    async def place(self, reference: Reference) -> Place:
        """The repository of `reference`. Raises ConfigError when its registry's CA is not PEM."""
        host = reference.domain
        async with self._opening:
            if host not in self._clients:
                self._clients[host] = await self._stack.enter_async_context(
                    open_registry(
                        host, keychain=self._keychain, trust=self._trust(host), dial=self._dial, retry=self._retry, emit=self._emit
                    )
                )
        return Place(client=self._clients[host], repository=reference.path)


@asynccontextmanager
async def open_registries(
    *,
    keychain: Keychain,
    trust: Callable[[str], RegistryTrust],
    dial: Dial | None = None,
    retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
    emit: Sink | None = None,
) -> AsyncIterator[Registries]:
    """Clients for any host, with the trust that `trust` gives it. `dial`, `retry` and `emit` as `open_registry` takes them."""
    async with AsyncExitStack() as stack:
        yield Registries(stack, keychain, trust, dial, retry, emit)
