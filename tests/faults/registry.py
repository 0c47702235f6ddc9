"""A registry with faults: it passes every request on to a real one, unless a rule has another answer."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_HOP = {"connection", "transfer-encoding", "content-length"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is done to requests: `status` is answered, or the answer waits `delay` seconds, or the connection is cut within the body.

    `codes` are the errors of an answer. `methods` says which requests; `times` how many of them, 0 for all; `part` is a piece of
    their path.
    """

    status: int = 0
    codes: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0
    cut: bool = False
    methods: tuple[str, ...] = ("GET", "HEAD", "POST", "PATCH", "PUT")
    part: str = "/v2/"
    times: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that came at `moment` (of the monotonic clock); `broken` when a rule was used for it."""

    moment: float
    method: str
    path: str
    broken: bool


@dataclass
class FaultyRegistry:
    """`host:port` as in image names; `asked` has the requests since the last rule was set, `struck` counts those it was used for."""

    address: str
    struck: int = 0
    asked: list[Asked] = field(default_factory=list, repr=False)
    _down: Callable[[], AbstractContextManager[None]] = field(kw_only=True, repr=False)
    _rule: Rule | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @contextmanager
    def broken(self, rule: Rule) -> Iterator[None]:
        """Apply a rule while the body runs."""
        self.struck, self.asked, self._rule = 0, [], rule
        try:
            yield
        finally:
            self._rule = None

    def down(self) -> AbstractContextManager[None]:
        """Nobody listens at the address while the body runs."""
        return self._down()

    def take(self, method: str, path: str) -> Rule | None:
        """The rule for a request, which counts as one use of it."""
        with self._lock:
            rule = self._rule
            if rule and (method not in rule.methods or rule.part not in path or (rule.times and self.struck >= rule.times)):
                rule = None
            self.struck += rule is not None
            self.asked.append(Asked(time.monotonic(), method, path, rule is not None))
            return rule


def _handler(registry: FaultyRegistry, upstream: str, stopping: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            rule = registry.take(self.command, self.path)
            if rule is not None and rule.cut:
                self.rfile.read(min(1024, int(self.headers.get("Content-Length") or 1024)))
                self.close_connection = True
                return
            body = self._body()
            if rule is not None and rule.status:
                self._answer(rule.status, list(rule.headers), _refusal(rule))
                return
            if rule is not None:
                stopping.wait(rule.delay)
            self._pass_on(body)

        do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = _serve  # noqa: N815 - the names that http.server calls

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _pass_on(self, body: bytes) -> None:
            connection = http.client.HTTPConnection(upstream, timeout=30)
            try:
                headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
                connection.request(self.command, self.path, body=body, headers=headers)
                answer = connection.getresponse()
                content = answer.read()
                kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
                length = answer.getheader("Content-Length") if self.command == "HEAD" else None
                self._answer(answer.status, kept, content, length)
            finally:
                connection.close()

        def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, length: str | None = None) -> None:
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: what matters is told by the client."""

    return Handler


_MESSAGES = {"DIGEST_INVALID": "provided digest did not match uploaded content", "MANIFEST_BLOB_UNKNOWN": "blob unknown to registry"}
"""As distribution says them: what containerd makes of an error has the message only."""


def _refusal(rule: Rule) -> bytes:
    code = {401: "UNAUTHORIZED", 403: "DENIED", 404: "NAME_UNKNOWN", 429: "TOOMANYREQUESTS"}.get(rule.status, "UNKNOWN")
    said = [{"code": code, "message": _MESSAGES.get(code, f"made up for a test: {rule.status}")} for code in rule.codes or (code,)]
    return json.dumps({"errors": said}).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._open: set[socket.socket] = set()

    def finish_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        try:
            super().finish_request(request, client_address)
        finally:
            self._open.discard(request)

    def server_close(self) -> None:
        """Also end the connections that are open: clients keep some for their next request."""
        super().server_close()
        for connection in tuple(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is part of the tests."""


@contextmanager
def open_registry(host: str, upstream: str) -> Iterator[FaultyRegistry]:
    """Serve on a free port of `host`, in front of the registry `upstream`."""
    stopping = threading.Event()

    @contextmanager
    def down() -> Iterator[None]:
        serving.close()
        try:
            yield
        finally:
            serving.enter_context(_serving(server_address, handler))

    registry = FaultyRegistry("", _down=down)
    handler = _handler(registry, upstream, stopping)
    with ExitStack() as serving:
        server_address = serving.enter_context(_serving((host, 0), handler))
        registry.address = f"{host}:{server_address[1]}"
        try:
            yield registry
        finally:
            stopping.set()


@contextmanager
def _serving(address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> Iterator[tuple[str, int]]:
    with _Server(address, handler) as server:
        make: Callable[[], None] = server.serve_forever
        thread = threading.Thread(target=make, name="registry", daemon=True)
        thread.start()
        try:
            yield (address[0], server.server_address[1])
        finally:
            server.shutdown()
            thread.join(10)
