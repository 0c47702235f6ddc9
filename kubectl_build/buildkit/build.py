"""A request on one daemon: its solve, with the local caches and places for results that are on this machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from kubectl_build.attachables import Services, export_targets
from kubectl_build.buildkit.attrs import build_job
from kubectl_build.buildkit.caches import cache_exports, cache_imports
from kubectl_build.buildkit.client import BuildkitClient
from kubectl_build.buildkit.response import NAME, raw_descriptor
from kubectl_build.buildkit.solve import Check, SolveJob, SolveResult, attached, run_solve
from kubectl_build.errors import ConnectionLost, ProtocolError, RegistryError, UsageError
from kubectl_build.layout.cache import open_local_caches, record_local_caches, reset_local_caches
from kubectl_build.layout.outputs import layout_output, record_layout
from kubectl_build.layout.store import LayoutStore
from kubectl_build.model.events import Note, Sending, Sink
from kubectl_build.model.platform import Platform
from kubectl_build.model.request import BuildRequest, CacheEntry
from kubectl_build.session.content import EXPORT_STORE
from kubectl_build.session.filesend import ExportTarget, FileSend


async def solve_request(
    request: BuildRequest,
    client: BuildkitClient,
    platforms: Sequence[Platform],
    check: Check,
    *,
    services: Services,
    emit: Sink,
    pool: str = "",
    pools: Sequence[str] = (),
    attrs: Mapping[str, str] | None = None,
    targets: Mapping[int, ExportTarget] | None = None,
) -> SolveResult:
    """Build `platforms` of `request` (empty: the daemon's own) as `pool` of `pools`; `attrs` go to the frontend over all others.

    Results go to the request's outputs, or to `targets` by the exporter's number. Raises what run_solve raises, and UsageError for a local
    cache or a layout directory that cannot be used. Local caches with `reset=true` are the caller's to reset where there are several pools.
    """
    began = time.time()
    exports = cache_exports(request, pool, pools)
    caches = await asyncio.to_thread(open_local_caches, cache_imports(request, pools), exports)
    skipped = caches.skipped
    if len(pools) > 1:
        # Most places of a local cache are empty then, each in its time: only that none has anything is worth a line.
        skipped = () if any(entry.type == "local" for entry in caches.imports) else skipped[:1]
    for text in skipped:
        emit(Note(text=text, level="warning"))
    layout = await asyncio.to_thread(layout_output, request.exported)
    job = build_job(request, platforms, pool=pool, pools=pools, imports=caches.imports, shared_keys=services.named_keys)
    result = await solve_job(
        replace(job, attrs={**job.attrs, **(attrs or {})}, cache_exports=caches.exports),
        client,
        check,
        services=services,
        emit=emit,
        targets=export_targets(request.exported) if targets is None else targets,
        stores={**caches.stores, **({EXPORT_STORE: layout} if layout else {})},
        label=pool if len(pools) > 1 else "",
    )
    if result is None:
        raise ProtocolError("the build ended without a result")
    await asyncio.to_thread(record_local_caches, exports, result.response)
    if len(pools) < 2:
        await reset_caches(exports, began, emit)
    if layout is not None:
        await asyncio.to_thread(record_layout, layout, raw_descriptor(result.response), result.response.get(NAME, ""))
    return result


async def reset_caches(exports: Sequence[CacheEntry], began: float, emit: Sink) -> None:
    """Reset local caches that say so, when every solve of the build that `began` then has recorded its own. A failure is a warning."""
    try:
        await asyncio.to_thread(reset_local_caches, exports, before=began)
    except UsageError as error:
        emit(Note(text=f"the local cache was not reset: {error.message}", level="warning"))


async def solve_job(
    job: SolveJob,
    client: BuildkitClient,
    check: Check,
    *,
    services: Services,
    emit: Sink,
    targets: Mapping[int, ExportTarget] | None = None,
    stores: Mapping[str, LayoutStore] | None = None,
    label: str = "",
) -> SolveResult | None:
    """Run `job` with a session of its own: results go to `targets`, by the exporter's number. None when `check` ended it."""
    send = FileSend(targets or {})

    def tell_expected(name: str, expected: int) -> None:
        emit(Sending(name=name, expected=expected, pool=label))

    session = await services.session(*([send] if targets else []), stores=stores, tell=tell_expected)

    def tell_silence(seconds: float) -> None:
        text = f"the builder has not asked for this client's health for {seconds:.0f} s, although it does so every 5 s" if seconds else ""
        emit(Note(text=text, level="wait"))

    session.on_silence = tell_silence
    try:
        async with attached(client, session):
            return await run_solve(client, session, job, check=check, emit=emit, pool=label)
    except (ConnectionLost, RegistryError) as error:
        error.transient &= not send.irrevocable
        if isinstance(error, ConnectionLost):
            # At once: the reason, and what has to be left in order, may take some seconds more where the cluster is away too.
            emit(Note(text=error.message, level="wait"))
        raise
