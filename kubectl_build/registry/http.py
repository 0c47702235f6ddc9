"""HTTP to a registry and to those that it names: bounded, retried, with converted errors; short answers whole, blobs as streams."""

from __future__ import annotations

import asyncio
import email.utils
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, aclosing, asynccontextmanager, suppress

import aiohttp
from yarl import URL

from kubectl_build.deadlines import deadlines
from kubectl_build.errors import RegistryError, ungrouped
from kubectl_build.model.events import Note, Sink
from kubectl_build.registry.failures import Broken, NoTls, Refused, converted
from kubectl_build.registry.links import Dial, Link, RegistryTrust, open_link, tls_context
from kubectl_build.values import dataclass

__all__ = ["Broken", "Dial", "Http", "NoTls", "Refused", "RegistryTrust", "Response", "RetryPolicy", "Upload", "open_http", "retry_after"]

MAX_BODY = 4 * 1024 * 1024
"""The size that the distribution specification lets a registry refuse for a manifest."""

CHUNK = 256 * 1024
"""Bytes of a stream that are held at once."""

_AT_ONCE = 8
"""Short requests under way. Those for an index of a hundred images need not all have a connection, which through a pod is an exec each."""

_TOLD = 1.0
"""Seconds of a wait that the user should know of."""

_TRANSIENT = frozenset({500, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how patiently a request is tried again after a reset, a transient 5xx or 429. Times are seconds."""

    attempts: int = 4
    backoff: float = 0.25
    longest_retry_after: float = 30.0

    def pause(self, attempt: int) -> float:
        """How long to wait after the try number `attempt` (from 1) when the server does not say."""
        return self.backoff * 2.0 ** (attempt - 1) * random.uniform(0.5, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer, read to its end unless it is streamed. `headers` are found in any case."""

    status: int
    headers: Mapping[str, str]
    challenges: tuple[str, ...]
    body: bytes
    url: URL


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A body that is too long to hold: `size` bytes, which `open` makes anew each time they have to be sent."""

    size: int
    open: Callable[[], AsyncGenerator[bytes, None]]


class Http:
    """Requests to a registry and to the hosts it refers to, each over connections of its own. Made by `open_http`."""

    def __init__(
        self, registry: str, trust: RegistryTrust, dial: Dial | None, retry: RetryPolicy, emit: Sink | None, stack: AsyncExitStack
    ) -> None:
        self.retry = retry
        self._registry = registry
        self._dial = dial
        self._emit = emit
        self._stack = stack
        self._tls = tls_context(registry, trust)
        self._links: dict[tuple[str, int], Link] = {}
        self._opening = asyncio.Lock()
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def send(
        self, method: str, url: URL, *, headers: Mapping[str, str], body: bytes | Upload | None = None, form: bool = False
    ) -> Response:
        """Make one request (each try in time) and return its answer, whatever its status, but follow no redirect.

        An Upload is tried once, since half of it may have been taken, and may take as long as it moves. Raises RegistryError when there is
        no answer; NoTls and Refused where only another scheme may help; Broken when the connection ended early; what `open` raises.
        """
        link = await self._link(url)
        sent = _headers(headers)
        if form:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        if isinstance(body, Upload):
            return await self._upload(link, method, url, {"Content-Type": "application/octet-stream", **sent}, body)
        async with self._slots:
            return await self._persist(lambda: self._once(link, method, url, sent, body))

    @asynccontextmanager
    async def stream(self, url: URL, *, headers: Mapping[str, str]) -> AsyncIterator[tuple[Response, AsyncIterator[bytes]]]:
        """GET `url` and yield the answer and the bytes of its body as they come, which are none unless the status is 200.

        Tried again as by `send` until the body has begun; then a connection that ends early is Broken.
        """
        link = await self._link(url)
        async with AsyncExitStack() as stack:
            opened: list[aiohttp.ClientResponse] = []

            async def once() -> Response:
                with self._convert(link, url, deadlines().registry):
                    async with asyncio.timeout(deadlines().registry):
                        request = link.session.request("GET", url, headers=_headers(headers), allow_redirects=False)
                        answer = await request
                        if answer.status == 200:
                            opened.append(await stack.enter_async_context(answer))
                            return _response(answer, b"", url)
                        async with answer:
                            return _response(answer, await _read(answer), url)

            response = await self._persist(once)
            async with aclosing(self._chunks(link, url, opened[0]) if opened else _nothing()) as chunks:
                yield response, chunks

    async def _chunks(self, link: Link, url: URL, answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        iterator = answer.content.iter_chunked(CHUNK)
        while True:
            with self._convert(link, url, deadlines().transfer):
                async with asyncio.timeout(deadlines().transfer):
                    chunk = await anext(iterator, b"")
            if not chunk:
                return
            yield chunk

    async def _persist(self, once: Callable[[], Awaitable[Response]]) -> Response:
        for attempt in range(1, self.retry.attempts + 1):
            last = attempt == self.retry.attempts
            pause = self.retry.pause(attempt)
            try:
                response = await once()
            except Broken:
                if last:
                    raise
            else:
                wait = self.pause_after(response, pause)
                if last or wait is None:
                    return response
                pause = wait
                if pause >= _TOLD:
                    self._tell(self._why(response, pause))
            await asyncio.sleep(pause)
            if pause >= _TOLD:
                self._tell("")
        raise AssertionError("unreachable: the last attempt returns or raises")

    def pause_after(self, response: Response, backoff: float) -> float | None:
        """Seconds to wait before another try, None when the answer is final."""
        if response.status not in _TRANSIENT and response.status != 429:
            return None
        asked = retry_after(response.headers)
        if asked is None:
            return backoff
        return asked if asked <= self.retry.longest_retry_after else None

    def _why(self, response: Response, seconds: float) -> str:
        why = "it gets too many requests" if response.status == 429 else f"it answered {response.status}"
        return f'waiting {seconds:.0f} s for registry "{self._registry}", as it asks: {why}'

    def _tell(self, text: str) -> None:
        if self._emit is not None:
            self._emit(Note(text=text, level="wait"))

    async def _once(self, link: Link, method: str, url: URL, headers: Mapping[str, str], body: bytes | None) -> Response:
        with self._convert(link, url, deadlines().registry):
            async with asyncio.timeout(deadlines().registry):
                async with link.session.request(method, url, headers=headers, data=body, allow_redirects=False) as answer:
                    return _response(answer, await _read(answer), url)

    async def _upload(self, link: Link, method: str, url: URL, headers: Mapping[str, str], body: Upload) -> Response:
        headers = {**headers, "Content-Length": str(body.size)}
        with ungrouped():
            async with asyncio.TaskGroup() as group:
                sending = _Sending(body)
                producing = group.create_task(sending.produce(), name=f"{method} {url.host}")
                with self._convert(link, url, deadlines().transfer):
                    async with asyncio.timeout(deadlines().transfer) as limit:
                        sending.limit = limit
                        async with link.session.request(method, url, headers=headers, data=sending, allow_redirects=False) as answer:
                            response = _response(answer, await _read(answer), url)
                            if not producing.done():
                                answer.close()  # it is answered already, and nobody will take the rest
                producing.cancel()
        return response

    def _convert(self, link: Link, url: URL, deadline: float) -> AbstractContextManager[None]:
        return converted(self._registry, url, link, deadline=deadline)

    async def _link(self, url: URL) -> Link:
        key = (url.host or "", url.port or 0)
        async with self._opening:
            if key not in self._links:
                self._links[key] = await self._stack.enter_async_context(open_link(key, self._tls, self._dial))
            link = self._links[key]
        if link.bridge is not None:
            link.bridge.failure = None
        return link


class _Sending:
    """The bytes of an Upload on their way to aiohttp; a task of ours reads them, so that what they come from is closed by us."""

    def __init__(self, upload: Upload) -> None:
        self.limit: asyncio.Timeout | None = None
        self._upload = upload
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1)
        self._begun = False

    async def produce(self) -> None:
        async with aclosing(self._upload.open()) as chunks:
            async for chunk in chunks:
                await self._chunks.put(chunk)
        await self._chunks.put(b"")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._begun:  # aiohttp tries a request once more when an idle connection turns out to be closed
            raise ConnectionResetError("the connection ended when a part of the body was sent")
        self._begun = True
        while chunk := await self._chunks.get():
            self._moved()
            yield chunk
        self._moved()

    def _moved(self) -> None:
        with suppress(RuntimeError):  # the time is up already
            if self.limit is not None:
                self.limit.reschedule(asyncio.get_running_loop().time() + deadlines().transfer)


@asynccontextmanager
async def open_http(
    registry: str, *, trust: RegistryTrust, dial: Dial | None, retry: RetryPolicy, emit: Sink | None = None
) -> AsyncIterator[Http]:
    """Requests on behalf of `registry` (its name in messages). All connections end with the context. Raises ConfigError for a bad CA.

    `emit` gets a note of each wait that a registry asks for.
    """
    async with AsyncExitStack() as stack:
        yield Http(registry, trust, dial, retry, emit, stack)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks for (a number or a date), None when there is none that can be read."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {"Accept-Encoding": "identity", "User-Agent": "kubectl-build", **headers}


def _response(answer: aiohttp.ClientResponse, body: bytes, url: URL) -> Response:
    challenges = tuple(answer.headers.getall("WWW-Authenticate", ()))
    return Response(status=answer.status, headers=answer.headers, challenges=challenges, body=body, url=url)


async def _nothing() -> AsyncGenerator[bytes, None]:
    return
    yield


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for chunk in answer.content.iter_chunked(64 * 1024):
        data += chunk
        if len(data) > MAX_BODY:
            raise RegistryError(f"{answer.url.host} answered with more than {MAX_BODY // 1024 // 1024} MiB", status=answer.status)
    return bytes(data)
