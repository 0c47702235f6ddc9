"""What a daemon's failed call means: the typed details of moby/buildkit's errdefs, and where in the build it happened.

On the wire each detail is an Any whose type URL has no prefix and whose value is JSON (util/grpcerrors/grpcerrors.go).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from kubectl_build.buildkit.client import RpcFailure
from kubectl_build.buildkit.source import json_excerpt
from kubectl_build.errors import ConnectionLost, KubectlBuildError, RegistryError, SolveError, SourceExcerpt
from kubectl_build.model.events import StatusUpdate
from kubectl_build.model.json import parse_json
from kubectl_build.proto import status_pb2

_TAIL_LINES = 20
_TAIL_BYTES = 16 << 10
_TAILS = 512
"""Steps whose output is remembered: those that wrote last."""

_REGISTRY_STEP = re.compile(
    r"^(\[[^\]]*\] load metadata for |resolve image config for |\[[^\]]*\] FROM |\[context [^\]]*\] |docker-image://|"
    r"importing cache manifest from |exporting cache to registry|exporting to image)"
)
_CLOUD_STEP = re.compile(r"^exporting (cache )?to (Amazon S3|Azure Blob Storage|GitHub Actions Cache)$")
_REGISTRY_TEXT = re.compile(
    r"failed to (push|resolve source metadata|do request|fetch (anonymous|oauth) token|authorize|copy)|pull access denied|"
    r"unexpected status( from [A-Z]+ request)?|server gave HTTP response to HTTPS client|insufficient_scope|"
    r"failed to configure \w+ cache exporter|error writing (layer|config|manifest) blob"
)
_HTTP_STATUS = re.compile(r"\b(401|403|404|429|5\d\d)\b")
_PASSING_TEXT = re.compile(
    r"connection (reset|refused)|broken pipe|\bEOF\b|timeout\b|timed out|deadline exceeded|closed network connection|GOAWAY|"
    r"server misbehaving"
)
_UNSETTLED_TEXT = re.compile(r"\bblob unknown\b")
"""A manifest refused for a blob that has just been pushed. distribution before 3.1 with files, and registries on Azure, say so for a moment
when somebody pushes the same blob to the same repository, as the pools of a build do with layers they have in common
(distribution/distribution#2077)."""
_REFUSAL_TEXT = re.compile(r"denied|unauthori[sz]ed|forbidden|insufficient_scope|no basic auth credentials|x509|not found", re.IGNORECASE)


_DISK_FULL = re.compile(r"no space left on device", re.IGNORECASE)
"""ENOSPC as Go and C say it."""

_REFUSED_ENTITLEMENT = re.compile(r"granting entitlement (\S+) is not allowed by build daemon configuration")
_NO_AGENT = re.compile(r'no SSH key "([^"]+)" forwarded from the client|unset ssh forward key (\S+)')
_NO_STAGE = re.compile(r'\btarget stage "[^"]*" could not be found')
_UNSUPPORTED_REQUEST = re.compile(r"unsupported request (frontend\.[a-z.]+)")
"""What frontends say that have no typed errors (moby/buildkit v0.8)."""


class UnsupportedRequest(SolveError):
    """The frontend does not know the subrequest `request` ("frontend.lint")."""

    def __init__(self, request: str, *, sources: tuple[SourceExcerpt, ...] = ()) -> None:
        super().__init__(f"the frontend does not know the request {request}", sources=sources)
        self.request = request


class FailureLog:
    """Remembers from a solve's events what an error will want to show: the failed step, and the end of its log."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._tails: dict[str, deque[bytes]] = {}
        self._sizes: dict[str, int] = {}
        self.failed: str = ""

    def add(self, update: StatusUpdate) -> None:
        """Take one update in."""
        for vertex in update.vertexes:
            self._names[vertex.digest] = vertex.name
            if vertex.error and not vertex.error.endswith("context canceled"):
                self.failed = self.failed or vertex.digest
        for log in update.logs:
            tail = self._tails[log.vertex] = self._tails.pop(log.vertex, deque())
            tail.append(log.data[-_TAIL_BYTES:])
            self._sizes[log.vertex] = self._sizes.get(log.vertex, 0) + len(tail[-1])
            while len(tail) > 1 and self._sizes[log.vertex] - len(tail[0]) > _TAIL_BYTES:
                self._sizes[log.vertex] -= len(tail.popleft())
        while len(self._tails) > _TAILS:
            oldest = next(iter(self._tails))
            del self._tails[oldest], self._sizes[oldest]

    def step(self, digest: str) -> str:
        """The name of a step, or "" when it was never reported."""
        return self._names.get(digest, "")

    def tail(self, digest: str) -> tuple[str, ...]:
        """The last lines that a step wrote."""
        text = b"".join(self._tails.get(digest, ())).decode("utf-8", "replace")
        return tuple(text.splitlines()[-_TAIL_LINES:])


def solve_error(failure: RpcFailure, log: FailureLog) -> KubectlBuildError:
    """Turn a daemon's status into the error to show: RegistryError for pulls, pushes and caches, ConnectionLost for a lost session, else
    SolveError."""
    details = list(_details(failure.details_bin))
    digest = next((str(d.get("digest", "")) for kind, d in details if kind == "Vertex"), "") or log.failed
    step = log.step(digest)
    message = failure.message
    if "no active session for" in message or "session healthcheck failed" in message:
        return ConnectionLost(
            f"the builder lost this client's session: {message}", hint="run the same command again: finished steps are cached"
        )
    if failure.code is grpc.StatusCode.CANCELLED:
        # Not by us, who do not ask then: the daemon is ending, or has given this client up, as one that was suspended.
        return ConnectionLost(f"the builder has cancelled the build: {_sentence(message)}")
    sources = tuple(source for kind, d in details if kind == "Source" and (source := _source(d)))
    request = next((str(d.get("name", "")) for kind, d in details if kind == "Subrequest"), "") or _unsupported_request(message)
    if request:
        return UnsupportedRequest(request, sources=_unique(sources))
    status = next((d.get("exit_code") for kind, d in details if kind == "ExitMessage"), None)
    if _is_registry_failure(step, message, ran=status is not None):
        return _registry_error(message)
    tail = log.tail(digest)
    return SolveError(
        _sentence(message),
        hint=_hint("\n".join((message, *tail))),
        step=step,
        log_tail=tail,
        sources=_unique(sources),
        exit_status=status if isinstance(status, int) and status else None,
    )


def _source(detail: dict[str, Any]) -> SourceExcerpt | None:
    """The lines that a detail points at, None for one that is not as BuildKit makes them: the error counts without it too."""
    try:
        return json_excerpt(detail.get("info") or {}, detail.get("ranges") or ())
    except (AttributeError, TypeError, ValueError, OverflowError):
        return None


def _hint(said: str) -> str | None:
    """What to do about an error, by what the daemon and the step have said."""
    if _DISK_FULL.search(said):
        return (
            "if it is the builder's own disk: kubectl buildkit prune --all frees its cache, and create NAME --cache ...,size= gives it more"
        )
    if refused := _REFUSED_ENTITLEMENT.search(said):
        return f"the builder must grant it: kubectl buildkit create NAME --allow {refused.group(1)}"
    if _NO_STAGE.search(said):
        return "the stages that there are: kubectl build --call=targets PATH"
    if wanted := _NO_AGENT.search(said):
        id = wanted.group(1) or wanted.group(2)
        return f"add --ssh {id} for the agent of SSH_AUTH_SOCK, or --ssh {id}=FILE for a key"
    return None


def _is_registry_failure(step: str, message: str, *, ran: bool) -> bool:
    if ran:
        return False
    if _CLOUD_STEP.match(step):
        return True
    return _REGISTRY_TEXT.search(message) is not None and (not step or _REGISTRY_STEP.match(step) is not None)


def _registry_error(message: str) -> RegistryError:
    status = _HTTP_STATUS.search(message)
    code = int(status.group(1)) if status else None
    hint = None
    if _DISK_FULL.search(message):
        hint = _hint(message)
    elif "server gave HTTP response to HTTPS client" in message:
        hint = (
            "for a registry without TLS use --output=type=registry,registry.insecure=true, or http = true in the builder's buildkitd.toml"
        )
    elif "certificate signed by unknown authority" in message or "x509" in message:
        hint = (
            "give the builder the registry's CA: kubectl buildkit create --registry HOST,ca=FILE, or registries of kubectl-build-defaults"
        )
    elif code in (401, 403) or "insufficient_scope" in message or "no basic auth credentials" in message:
        hint = "name the login with --registry-secret (kubectl create secret docker-registry ...)"
    elif "connection refused" in message or "no such host" in message or "i/o timeout" in message:
        hint = "the builder's pod must reach the registry: check its name and port"
    passing = code is None and _PASSING_TEXT.search(message) is not None and _REFUSAL_TEXT.search(message) is None
    unsettled = _UNSETTLED_TEXT.search(message) is not None
    return RegistryError(_joined(_sentence(message)), status=code, hint=hint, transient=passing or unsettled)


def _joined(message: str) -> str:
    """Several errors of a registry in one line; containerd writes one a line (remotes/docker/errcode.go)."""
    return "; ".join(line.strip() for line in message.replace(" errors:\n", " ").splitlines() if line.strip())


def _unsupported_request(message: str) -> str:
    match = _UNSUPPORTED_REQUEST.search(message)
    return match.group(1) if match else ""


def _sentence(message: str) -> str:
    return re.sub(r"^(rpc error: code = \w+ desc = |failed to solve: )+", "", message).strip()


def _unique(sources: Iterable[SourceExcerpt]) -> tuple[SourceExcerpt, ...]:
    return tuple(dict.fromkeys(sources))


def _details(data: bytes) -> Iterable[tuple[str, dict[str, Any]]]:
    try:
        status = status_pb2.Status.FromString(data)
    except DecodeError:
        return
    for detail in status.details:
        match = re.search(r"([A-Za-z]+)\+json$", detail.type_url)
        try:
            value = parse_json(detail.value) if match else None
        except ValueError:
            continue
        if match and isinstance(value, dict):
            yield match.group(1), value
