"""A build from request to result, in reading order: credentials, builder, plan, solves, index.

This is the only module that knows all the steps. What each step does is elsewhere; what comes next is decided here.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from kubectl_build.attachables import Services, open_services
from kubectl_build.buildkit.attrs import build_job, plan_job
from kubectl_build.buildkit.build import reset_caches, solve_job
from kubectl_build.buildkit.fetch import fetch_dockerfile
from kubectl_build.buildkit.llb import result_needs
from kubectl_build.buildkit.response import BUILD_REF, CONFIG_DIGEST, DESCRIPTOR, DIGEST, decode_response
from kubectl_build.buildkit.solve import attached
from kubectl_build.buildkit.subrequest import CallResult, run_call
from kubectl_build.cluster.client import KubeClient
from kubectl_build.credentials.load import load_keychain
from kubectl_build.daemons import Link
from kubectl_build.errors import UsageError, system_words, ungrouped
from kubectl_build.held import beside, held
from kubectl_build.model.credentials import Keychain
from kubectl_build.model.events import Note, Placed, Reached, Sink, timed, told_once
from kubectl_build.model.inputs import LocalContext, RemoteContext, local_directories
from kubectl_build.model.needs import Needs
from kubectl_build.model.observed import Observer
from kubectl_build.model.platform import Platform, qemu_name
from kubectl_build.model.request import AuthVia, BuildRequest
from kubectl_build.model.result import BuildResult, PlatformPlace
from kubectl_build.model.tokens import TokenFetcher
from kubectl_build.plan import (
    Mode,
    Plan,
    default_platform,
    doubts,
    emulated,
    foreign_execs,
    is_single,
    make_plan,
    planning_pool,
    provisional_plan,
    refuse_windows,
)
from kubectl_build.pools import Pools, find_cluster_pools, find_daemon_pools
from kubectl_build.proto import gateway_pb2
from kubectl_build.retries import Retries
from kubectl_build.session.session import Session
from kubectl_build.session.shared_key import context_key, named_shared_keys, session_shared_key
from kubectl_build.share import LinkCheck, Share, solve_share
from kubectl_build.transport.addresses import DaemonAddress, parse_address
from kubectl_build.values import dataclass

if TYPE_CHECKING:  # what joins the work of several pools is loaded where there are several: most builds have one
    from kubectl_build.joinfiles import JoinedFiles
    from kubectl_build.registry.index import IndexDocument

T = TypeVar("T")

SharedKey = Callable[[], Awaitable[str]]


async def build(
    request: BuildRequest,
    kube: KubeClient | None,
    *,
    emit: Sink,
    environ: Mapping[str, str],
    observe: Observer | None = None,
    shared_key: SharedKey | None = None,
) -> BuildResult:
    """Build `request` in the cluster of `kube`, or on the daemon whose address its builder is; `observe` is told what a report needs.

    `kube` may be None for an address that is not in a cluster. `shared_key` gives the key of the request's tree, if whoever calls has begun
    to look for it. Raises any KubectlBuildError; cancelling stops the builds in the builders first.
    """
    async with _prepared(request, kube, emit, environ, shared_key=shared_key) as prepared:
        work = replace(prepared, observe=observe)
        if is_single(work.platforms, work.pools.candidates, request.emulation):
            with suppress(_Elsewhere):
                return await work.finish(*await work.solve_alone())
        return await work.finish(*await work.solve_planned())


class _Elsewhere(Exception):
    """The steps of a build that one pool was to plan and build run natively on another: stages may name their platform."""


async def call(
    request: BuildRequest, kube: KubeClient | None, *, emit: Sink, environ: Mapping[str, str], shared_key: SharedKey | None = None
) -> CallResult:
    """Ask the frontend what `request.call` asks, instead of building; the pool that would plan is started for it if need be."""
    assert request.call is not None, "a call says what is asked"
    question = request.call
    async with _prepared(request, kube, emit, environ, shared_key=shared_key) as work:

        async def ask(link: Link) -> CallResult:
            session = await work.services.session()
            job = build_job(work.request, request.platforms, pool=link.pool, pools=(link.pool,), shared_keys=work.services.named_keys)
            async with attached(link.client, session):
                return await run_call(link.client, session, job, question, emit=work.emit)

        return await work.retries.on_link(work.home, ask)


async def plan_only(
    request: BuildRequest, kube: KubeClient | None, *, emit: Sink, environ: Mapping[str, str], shared_key: SharedKey | None = None
) -> Plan:
    """Return the plan of `request` without building. Creates nothing: where no pool runs, nodes alone decide."""
    async with _prepared(request, kube, emit, environ, start=False, shared_key=shared_key) as work:
        if not work.pools.runs(work.home):
            return provisional_plan(work.platforms, work.pools.candidates, request.emulation)
        return await work.retries.on_link(work.home, work.plan)


@asynccontextmanager
async def _prepared(
    request: BuildRequest,
    kube: KubeClient | None,
    emit: Sink,
    environ: Mapping[str, str],
    *,
    start: bool = True,
    shared_key: SharedKey | None = None,
) -> AsyncIterator[_Work]:
    """Find the logins (a named secret that is missing ends it here), the builder and the nodes, at once.

    A Dockerfile at a URL is fetched, unless a pool would have to be started for it and `start` is False.
    """
    emit = told_once(emit)
    address = parse_address(request.builder)
    secret = None if address else request.builder
    async with AsyncExitStack() as stack:
        work = _timed("context key", shared_key() if shared_key else _shared_key(request.tree, environ), emit)
        keyed = await stack.enter_async_context(beside(work))  # a session is the first to need it
        async with asyncio.TaskGroup() as group:
            logins = group.create_task(
                held(_timed("credentials", load_keychain(kube, request.registry_secrets, secret, environ=environ, emit=emit), emit))
            )
            found = group.create_task(held(_timed("builder", _find_pools(address, request, kube, _key(request), emit), emit)))
            named_keys = group.create_task(held(asyncio.to_thread(named_shared_keys, request.named_contexts, environ)))
        # In this order: of several things that are wrong, what the user named counts before what the builder needs.
        keychain, pools = logins.result()(), found.result()()
        platforms = request.platforms
        if not platforms:
            platforms = (default_platform(pools.candidates),)
            whose = "the builder's first pool" if pools.candidates.existing else "most nodes"
            emit(Note(text=f"no --platform: building for {platforms[0]}, the platform of {whose}"))
        home = planning_pool(platforms, pools.candidates)
        await stack.enter_async_context(pools.left_in_order())
        if request.dockerfile.url and (start or pools.runs(home)):
            request = await stack.enter_async_context(_with_fetched_dockerfile(request, pools, home, emit))
        tokens = _token_fetcher(request, pools) if request.auth_via is AuthVia.CLIENT else None
        services = await stack.enter_async_context(
            open_services(request, keychain=keychain, shared_key=keyed, named_keys=named_keys.result()(), tokens=tokens)
        )
        yield _Work(request=request, emit=emit, keychain=keychain, pools=pools, platforms=platforms, home=home, services=services)


@asynccontextmanager
async def _with_fetched_dockerfile(request: BuildRequest, pools: Pools, pool: str, emit: Sink) -> AsyncIterator[BuildRequest]:
    """`request` with the Dockerfile of a URL in a private directory, loaded by a daemon: it may be reachable from there only."""

    async def fetch(link: Link) -> bytes:
        session = Session(shared_key="", attachables=[])
        async with attached(link.client, session):
            return await fetch_dockerfile(link.client, session, request.dockerfile.url, emit=emit)

    data = await Retries(pools=pools, limit=request.retries, emit=emit).on_link(pool, fetch)
    with ExitStack() as stack:
        try:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kubectl-build-")))
            (directory / "Dockerfile").write_bytes(data)
        except OSError as error:
            what = f"the Dockerfile of {request.dockerfile.url} cannot be kept: {system_words(error)}"
            raise UsageError(what, hint="TMPDIR names another directory for temporary files") from error
        yield replace(request, dockerfile=replace(request.dockerfile, name="Dockerfile", url="", directory=directory, separate=True))


async def _timed(name: str, work: Awaitable[T], emit: Sink) -> T:
    with timed(emit, name):
        return await work


def _token_fetcher(request: BuildRequest, pools: Pools) -> TokenFetcher:
    from kubectl_build.join import trust
    from kubectl_build.registry.tokens import RegistryTokens  # its HTTP client is heavy, and few builds want it

    return RegistryTokens(lambda host: trust(pools.settings(host), request, host))


async def _find_pools(address: DaemonAddress | None, request: BuildRequest, kube: KubeClient | None, key: str, emit: Sink) -> Pools:
    if address is not None:
        return await find_daemon_pools(address, kube, emit=emit)
    assert kube is not None, "a builder's name comes with its cluster"
    return await find_cluster_pools(request.builder, kube, platforms=request.platforms, context_key=key, emit=emit)


async def _shared_key(tree: Path | None, environ: Mapping[str, str]) -> str:
    return await asyncio.to_thread(session_shared_key, tree, environ) if tree else ""


def _key(request: BuildRequest) -> str:
    """By what a pod is chosen: the same on every machine for the same context."""
    if request.context_key:
        return request.context_key
    return request.context.url if isinstance(request.context, RemoteContext) else context_key(request.tree or Path())


def _context_name(request: BuildRequest) -> str:
    """What others may read of the context: a directory's or a URL's last name, which holds no login."""
    if isinstance(request.context, RemoteContext):
        return PurePosixPath(urlsplit(request.context.url).path).name
    return request.context.path.resolve().name if isinstance(request.context, LocalContext) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """A build in progress: what is known before the plan, and the steps that use it. `home` is the pool that plans."""

    request: BuildRequest
    emit: Sink
    keychain: Keychain
    pools: Pools
    platforms: tuple[Platform, ...]
    home: str
    services: Services
    observe: Observer | None = None

    @property
    def retries(self) -> Retries:
        """How work on a pool is tried again."""
        return Retries(pools=self.pools, limit=self.request.retries, emit=self.emit)

    async def solve_alone(self) -> tuple[Plan, list[Share]]:
        """Plan and build in one solve on the only pool that comes into question. Raises _Elsewhere when that is another one,
        or may be."""
        plan = Plan(assignments=())

        async def check(link: Link, result: gateway_pb2.Result) -> bool:
            nonlocal plan
            needs = result_needs(result, self.platforms, link.own)
            if doubts(self.platforms, needs, link.pool, self.pools.candidates, self.request.emulation):
                raise _Elsewhere
            plan = await self._decide(link, needs, {})
            if plan.pools != (link.pool,):
                raise _Elsewhere
            self._show(plan)
            return True

        async def attempt(link: Link) -> Share:
            return await self._solve(link, self.platforms, check, pools=(link.pool,))

        solved = await self.retries.on_link(self.home, attempt)
        return plan, [solved]

    async def solve_planned(self) -> tuple[Plan, list[Share]]:
        """Plan first, then build on every pool of the plan at once; the first failure ends the others."""

        async def attempt(link: Link) -> tuple[Plan, list[Share]]:
            plan = await self.plan(link)
            self._show(plan)
            if len(plan.pools) == 1:
                return plan, [await self._share(plan, plan.pools[0], link if plan.pools[0] == self.home else None)]
            return plan, await self._shares(plan, link)

        return await self.retries.on_link(self.home, attempt)

    async def _shares(self, plan: Plan, link: Link) -> list[Share]:
        """Build on several pools at once, and join the files that they send; `link` is to the pool that has planned."""
        from kubectl_build.joinfiles import joined_files, pool_request

        work = replace(self, request=pool_request(self.request))
        began = time.time()
        with timed(self.emit, "pods"):
            await self.pools.ensure([pool for pool in plan.pools if pool != link.pool])
        read = local_directories(self.request.context, self.request.dockerfile, self.request.named_contexts)
        async with joined_files(self.request.exported, plan.pools, read=read.values()) as files:
            with ungrouped():
                async with asyncio.TaskGroup() as group:
                    tasks = [
                        group.create_task(work._share(plan, pool, link if pool == self.home else None, files=files), name=pool)
                        for pool in plan.pools
                    ]
            await files.finish(self.platforms)
        await reset_caches(self.request.cache_to, began, self.emit)
        return [task.result() for task in tasks]

    async def plan(self, link: Link) -> Plan:
        """Ask the frontend, through the pool of `link`, what the build runs, and decide. Leaves no trace in the builder's history."""
        candidates, emulation = self.pools.candidates, self.request.emulation
        with timed(self.emit, "plan", link.pool):
            needs = await self._needs(link, self.platforms)
            elsewhere = {
                pool: await self._needs(link, platforms, elsewhere=Platform("linux", pool))
                for pool, platforms in doubts(self.platforms, needs, link.pool, candidates, emulation).items()
            }
            return await self._decide(link, needs, elsewhere)

    async def _needs(self, link: Link, platforms: Sequence[Platform], *, elsewhere: Platform | None = None) -> dict[Platform, Needs]:
        """What the build of `platforms` runs on the pool of `link`, or would run `elsewhere`: that pool may not even exist yet."""
        needs: dict[Platform, Needs] = {}

        async def check(result: gateway_pb2.Result) -> bool:
            needs.update(result_needs(result, platforms, elsewhere or link.own))
            return False

        job = plan_job(self.request, platforms, build_platform=elsewhere, shared_keys=self.services.named_keys)
        await solve_job(job, link.client, check, services=self.services, emit=self.emit)
        return needs

    def _show(self, plan: Plan) -> None:
        """Tell the plan before work begins, and mark each platform's steps with it."""
        self.emit(Note(text=plan.table(), level="plan"))
        for assignment in plan.assignments:
            self.emit(Placed(platform=str(assignment.platform), mode=assignment.mode.value, pool=assignment.pool, why=assignment.why))

    async def _share(self, plan: Plan, pool: str, link: Link | None, *, files: JoinedFiles | None = None) -> Share:
        """One pool's part of a plan, on `link` first if there is one already."""

        async def check(link: Link, result: gateway_pb2.Result) -> bool:
            await self._recheck(plan, link, result)
            return True

        async def attempt(link: Link) -> Share:
            return await self._solve(link, plan.platforms(pool), check, pools=plan.pools, files=files)

        return await self.retries.on_link(pool, attempt, first=link)

    async def _decide(self, link: Link, needs: Mapping[Platform, Needs], elsewhere: Mapping[str, Mapping[Platform, Needs]]) -> Plan:
        plan = make_plan(self.platforms, needs, link.pool, self.pools.candidates, self.request.emulation, elsewhere=elsewhere)
        for assignment in plan.assignments:
            if assignment.mode is Mode.QEMU:
                await self._require_emulators(link, assignment.platform, needs[assignment.platform])
        return plan

    async def _recheck(self, plan: Plan, link: Link, result: gateway_pb2.Result) -> None:
        """Hold a pool's own LLB against the plan: its BUILDPLATFORM differs from that of the pool that was asked."""
        needs = result_needs(result, plan.platforms(link.pool), link.own)
        for platform, need in needs.items():
            refuse_windows(need)
            foreign = foreign_execs(need, link.pool, self.pools.candidates)
            if foreign and plan.mode(platform) is not Mode.QEMU:
                changed = emulated(platform, foreign, link.pool, self.request.emulation, fixed=self.pools.candidates.fixed)
                await self._require_emulators(link, platform, need)
                self.emit(Note(text=f"{platform}: {changed.why}: these run under QEMU on {link.pool}", level="warning"))

    async def _require_emulators(self, link: Link, platform: Platform, needs: Needs) -> None:
        """Raise UsageError where a command of the build can run neither natively nor emulated in this pod."""
        runnable = {p for worker in link.info.workers for p in worker.platforms}
        missing = {p.architecture for p in foreign_execs(needs, link.pool, self.pools.candidates) if p not in runnable}
        for architecture in sorted(missing):
            if not await self.pools.has_command(link, f"buildkit-qemu-{qemu_name(architecture)}"):
                raise UsageError(
                    f"platform {platform} needs emulation of {architecture}, and {link.name} has no emulator for it",
                    hint="cross-compile, add a node of that architecture, or: kubectl buildkit create NAME --qemu-install",
                )

    async def _solve(
        self, link: Link, platforms: Sequence[Platform], check: LinkCheck, *, pools: Sequence[str], files: JoinedFiles | None = None
    ) -> Share:
        self.emit(Reached(pool=link.pool, name=link.name, node=link.node))
        with timed(self.emit, "solve", link.pool):
            async with self.pools.in_use(link, platforms, _context_name(self.request)):
                return await solve_share(
                    self.request,
                    link,
                    platforms,
                    check,
                    pools=pools,
                    services=self.services,
                    emit=self.emit,
                    files=files,
                    observe=self.observe,
                )

    async def finish(self, plan: Plan, solved: Sequence[Share]) -> BuildResult:
        """Join what the pools made into one result; with several pools and a push, write the index to every tag."""
        places = tuple(self._place(plan, platform, solved) for platform in self.platforms)
        first, response = solved[0], dict(solved[0].result.response)
        if len(solved) > 1:
            from kubectl_build.join import index_response, join_shares

            response = {}
            if all(DESCRIPTOR in share.result.response for share in solved):
                document = join_shares(self.platforms, solved)
                if self.request.pushes:
                    await self._publish(document, first.link)
                response = index_response(document, self.request)
        digest = response.get(DIGEST, "")
        provenance = {key: value for share in solved for key, value in share.provenance.items()}
        return BuildResult(
            digest=digest,
            image_id=response.get(CONFIG_DIGEST) or digest,
            metadata={**decode_response(response), **provenance, BUILD_REF: f"{self._where(first.link)}/{first.result.ref}"},
            places=places,
            pushed=self.request.names if self.request.pushes else (),
        )

    async def _publish(self, document: IndexDocument, link: Link) -> None:
        """Write the index from the pod of `link`; if that is gone by now, from another one of its pool."""

        from kubectl_build.join import publish

        async def attempt(link: Link) -> None:
            route = await self.pools.route(link)
            await publish(document, self.request, route, keychain=self.keychain, emit=self.emit)

        with timed(self.emit, "index", link.pool):
            await self.retries.on_link(link.pool, attempt, first=link)

    def _where(self, link: Link) -> str:
        """Builder and node as they stand in a build's reference; a daemon by address has buildx's names for such."""
        return f"{self.request.builder}/{link.name}" if link.pod and link.node else "remote/remote0"

    def _place(self, plan: Plan, platform: Platform, solved: Sequence[Share]) -> PlatformPlace:
        link = next(share.link for share in solved if platform in share.platforms)
        return PlatformPlace(platform=platform, mode=plan.mode(platform).value, pool=link.pool, node=link.node, pod=link.name)
