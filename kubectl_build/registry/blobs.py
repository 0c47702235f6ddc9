"""A registry's blobs: read, streamed, mounted from another repository, pushed (distribution specification v1.1).

A blob is pushed as containerd and BuildKit push it, by POST and then one PUT that streams it: of all forms it is the one that every
registry takes (the pieces of a chunked upload have sizes that each registry limits in its own way).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

from yarl import URL

from kubectl_build.errors import RegistryError
from kubectl_build.registry.authorization import Scope
from kubectl_build.registry.exchange import Exchange, Request, at_location
from kubectl_build.registry.http import Broken, Upload

_ABSENT = frozenset({404})
_STALE = frozenset({404, 416})
"""How a registry says that it does not know the upload any more, or has another part of it than we think."""

_TRANSIENT = frozenset({429, 500, 502, 503, 504})


class Blobs:
    """The blobs of one registry. Methods raise RegistryError, and ConfigError from the keychain."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def exists(self, repository: str, digest: str) -> bool:
        """Whether `repository` has the blob."""
        request = Request(method="HEAD", path=f"/v2/{repository}/blobs/{digest}", scope=_pull(repository), absent=_ABSENT)
        return (await self._exchange.send(request)).status != 404

    async def read(self, repository: str, digest: str, *, limit: int) -> bytes:
        """Return a blob of at most `limit` bytes, whose bytes are those that its digest promises."""
        data = bytearray()
        async with self.open(repository, digest) as chunks:
            async for chunk in chunks:
                data += chunk
                if len(data) > limit:
                    raise RegistryError(f'blob {digest} of "{self._exchange.host}/{repository}" has more than {limit} bytes')
        return bytes(data)

    @asynccontextmanager
    async def open(self, repository: str, digest: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Yield a blob's bytes as they come. The last step raises RegistryError when they are not those that `digest` promises."""
        request = Request(method="GET", path=f"/v2/{repository}/blobs/{digest}", scope=_pull(repository))
        where = f"{self._exchange.host}/{repository}"
        async with self._exchange.stream(request) as chunks, aclosing(_verified(chunks, digest, where)) as verified:
            yield verified

    async def mount(self, repository: str, digest: str, source: str) -> URL | None:
        """Take over the blob from the repository `source` of this registry.

        Returns None when that is done, else the upload that the registry has begun in its place, for `push`.
        """
        scope = Scope(repository=repository, actions="pull,push", mount_from=source)
        request = Request(
            method="POST", path=f"/v2/{repository}/blobs/uploads/", scope=scope, query={"mount": digest, "from": source}, elsewhere=True
        )
        response = await self._exchange.send(request)
        return None if response.status == 201 else self._exchange.upload_location(response)

    async def push(
        self, repository: str, digest: str, size: int, source: Callable[[], AsyncGenerator[bytes, None]], *, begun: URL | None = None
    ) -> None:
        """Write a blob of `size` bytes. `source` makes its bytes, anew for each try; `begun` is an upload that `mount` has begun.

        An upload that breaks or that the registry forgets begins again from the start, as often as the retry policy says.
        """
        policy = self._exchange.retry
        for attempt in range(1, policy.attempts + 1):
            try:
                await self._push_once(repository, digest, Upload(size=size, open=source), begun)
                return
            except RegistryError as exc:
                again = isinstance(exc, Broken) or exc.status in _STALE | _TRANSIENT
                pause = policy.pause(attempt) if exc.retry_after is None else exc.retry_after
                if not again or attempt == policy.attempts or pause > policy.longest_retry_after:
                    raise
            begun = None
            await asyncio.sleep(pause)

    async def _push_once(self, repository: str, digest: str, body: Upload, begun: URL | None) -> None:
        scope = Scope(repository=repository, actions="pull,push")
        path = f"/v2/{repository}/blobs/uploads/"
        if begun is None:
            begun = self._exchange.upload_location(
                await self._exchange.send(Request(method="POST", path=path, scope=scope, elsewhere=True))
            )
        request = Request(method="PUT", path=path, scope=scope, body=body, elsewhere=True)
        await self._exchange.send(at_location(request, begun, digest=digest))


def _pull(repository: str) -> Scope:
    return Scope(repository=repository, actions="pull")


async def _verified(chunks: AsyncIterator[bytes], digest: str, where: str) -> AsyncGenerator[bytes, None]:
    algorithm, _, expected = digest.partition(":")
    if algorithm not in ("sha256", "sha384", "sha512"):
        raise RegistryError(f'"{digest}" of "{where}" is not a digest of sha256, sha384 or sha512')
    seen = hashlib.new(algorithm)
    async for chunk in chunks:
        seen.update(chunk)
        yield chunk
    if seen.hexdigest() != expected:
        raise RegistryError(f'registry answered other bytes for "{where}" than those of {digest}')
