"""The client as a library: a daemon by its address, and builds on it. Nothing here needs a cluster unless the address is a pod's.

See docs/library.md. Three ways to ask, from short to complete: `Daemon.build` takes plain words, `Daemon.build_request` what
the command line understands, `Daemon.solve` whatever BuildKit's API takes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeGuard

from kubectl_build.attachables import open_services
from kubectl_build.buildkit.build import solve_request
from kubectl_build.buildkit.client import BuildkitClient, DaemonInfo, connect
from kubectl_build.buildkit.solve import SolveJob, SolveResult, attached, run_solve
from kubectl_build.errors import ProtocolError, UsageError
from kubectl_build.held import beside
from kubectl_build.model.credentials import Keychain
from kubectl_build.model.events import BuildEvent, Sink
from kubectl_build.model.inputs import Context, Dockerfile, LocalContext, NamedContext, RemoteContext, Secret, SshAgent
from kubectl_build.model.kubeflags import KubeFlags
from kubectl_build.model.platform import parse_platforms
from kubectl_build.model.reference import parse_reference
from kubectl_build.model.request import BuildRequest, CacheEntry, Output
from kubectl_build.model.stream import Dialer
from kubectl_build.proto import gateway_pb2
from kubectl_build.session.session import Session
from kubectl_build.session.shared_key import named_shared_keys, session_shared_key
from kubectl_build.transport.addresses import DaemonAddress, KubePodAddress, parse_address
from kubectl_build.transport.bridge import bridge
from kubectl_build.transport.dial import address_dialer
from kubectl_build.values import dataclass


def ignore(event: BuildEvent) -> None:
    """The sink of who wants no progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A connected daemon. Made by `open_daemon`; builds may run side by side. `client` has the rest of its API: history, content, health.

    Every method raises ConnectionLost when the link or the daemon goes away; cancelling the awaiting task stops the build in the daemon.
    """

    client: BuildkitClient
    info: DaemonInfo

    async def build(
        self,
        context: str | Path,
        *,
        dockerfile: str | Path | None = None,
        named_contexts: Mapping[str, str | Path] | None = None,
        tags: Sequence[str] = (),
        platforms: Sequence[str] = (),
        target: str = "",
        build_args: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        outputs: Sequence[Output] = (),
        secrets: Sequence[Secret] = (),
        ssh: Sequence[SshAgent] = (),
        cache_from: Sequence[CacheEntry] = (),
        cache_to: Sequence[CacheEntry] = (),
        entitlements: Sequence[str] = (),
        attrs: Mapping[str, str] | None = None,
        keychain: Keychain | None = None,
        emit: Sink = ignore,
    ) -> SolveResult:
        """Build a Dockerfile. `context` and each named context is a directory, or a URL (anything with "://") that the daemon fetches.

        `dockerfile` is a file of this machine, by default `Dockerfile` in the context; for a URL it is a path within it. Without outputs
        an image that has tags stays in the daemon's store, and one without stays in its cache only. `attrs` go to the frontend, before
        those that follow from the rest. Otherwise as `build_request`.
        """
        place = _context(context)
        request = BuildRequest(
            context=place,
            dockerfile=_dockerfile(place, dockerfile),
            named_contexts={name: _named(value) for name, value in (named_contexts or {}).items()},
            tags=tuple(parse_reference(tag) for tag in tags),
            platforms=parse_platforms(platforms),
            target=target,
            build_args=build_args or {},
            labels=labels or {},
            outputs=tuple(outputs),
            secrets=tuple(secrets),
            ssh=tuple(ssh),
            cache_from=tuple(cache_from),
            cache_to=tuple(cache_to),
            entitlements=tuple(entitlements),
        )
        return await self.build_request(request, attrs=attrs, keychain=keychain, emit=emit)

    async def build_request(
        self, request: BuildRequest, *, attrs: Mapping[str, str] | None = None, keychain: Keychain | None = None, emit: Sink = ignore
    ) -> SolveResult:
        """Build `request` on this one daemon; what is about clusters in it (builder, emulation, registry secrets) does not count.

        Logins are those of `keychain`, by default docker's configuration. Raises SolveError when a step or the frontend fails,
        RegistryError, UsageError for what cannot be read, ContextChanged.
        """
        async with beside(asyncio.to_thread(_shared_key, request)) as shared_key:
            named_keys = await asyncio.to_thread(named_shared_keys, request.named_contexts, os.environ)
            logins = keychain or _docker_logins()
            async with open_services(request, keychain=logins, shared_key=shared_key, named_keys=named_keys) as services:
                return await solve_request(request, self.client, request.platforms, _go_on, services=services, emit=emit, attrs=attrs)

    async def solve(self, job: SolveJob, session: Session, *, emit: Sink = ignore) -> SolveResult:
        """Run one solve and serve `session` to the daemon meanwhile; a session is for one solve.

        Raises as `build_request`, or the first error of the session's attachables that is a KubectlBuildError.
        """
        async with attached(self.client, session):
            result = await run_solve(self.client, session, job, check=_go_on, emit=emit)
        if result is None:
            raise ProtocolError("the build ended without a result")
        return result


@asynccontextmanager
async def open_daemon(address: str) -> AsyncIterator[Daemon]:
    """Connect to the daemon at `address`: unix:///PATH, tcp://HOST:PORT[?cacert=&cert=&key=&servername=] or
    kube-pod://POD[?namespace=&context=&container=].

    It has answered when this yields. Raises UsageError for what is no such address and for certificate files that cannot be used, DialError
    for a daemon that does not answer; for a pod also ConfigError, ApiError and ApiUnreachable.
    """
    parsed = parse_address(address)
    if parsed is None:
        raise UsageError(f'"{address}" is not the address of a daemon', hint="use unix:///PATH, tcp://HOST:PORT or kube-pod://POD")
    async with (
        _dialer(parsed) as dial,
        bridge(dial) as carrier,
        connect(carrier.target, failure=lambda: carrier.failure) as client,
    ):
        yield Daemon(client=client, info=await client.info())


@asynccontextmanager
async def _dialer(address: DaemonAddress) -> AsyncIterator[Dialer]:
    if not isinstance(address, KubePodAddress):
        yield address_dialer(address)
        return
    # Only who builds in a pod pays for the Kubernetes client.
    from kubectl_build.cluster.client import open_client
    from kubectl_build.cluster.config import resolve
    from kubectl_build.transport.pod import daemon_dialer, named_pod

    flags = KubeFlags(context=address.context or None, namespace=address.namespace or None)
    async with open_client(resolve(flags, environ=os.environ)) as kube:
        yield daemon_dialer(kube, named_pod(address, kube))


def _context(value: str | Path) -> Context:
    return RemoteContext(value) if _is_url(value) else LocalContext(_directory(value, "context"))


def _named(value: str | Path) -> NamedContext:
    return RemoteContext(value) if _is_url(value) else LocalContext(_directory(value, "named context"))


def _is_url(value: str | Path) -> TypeGuard[str]:
    return isinstance(value, str) and "://" in value


def _directory(value: str | Path, what: str) -> Path:
    if not os.path.isdir(value):
        raise UsageError(f'{what} "{value}" is not a directory')
    return Path(value)


def _dockerfile(context: Context, value: str | Path | None) -> Dockerfile:
    if not isinstance(context, LocalContext):
        return Dockerfile(name=str(value or "Dockerfile"))
    path = Path(value) if value is not None else context.path / "Dockerfile"
    if not path.is_file():
        raise UsageError(f'Dockerfile "{path}" is not a file')
    return Dockerfile(name=path.name, directory=path.parent)


def _shared_key(request: BuildRequest) -> str:
    return session_shared_key(request.context.path, os.environ) if isinstance(request.context, LocalContext) else ""


def _docker_logins() -> Keychain:
    from kubectl_build.credentials.docker_config import DockerConfigKeychain

    return DockerConfigKeychain(os.environ)


async def _go_on(result: gateway_pb2.Result) -> bool:
    return True
