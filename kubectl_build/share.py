"""One pool's share of a build: a solve with all that it needs from this machine and leaves on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kubectl_build.attachables import Services, export_targets
from kubectl_build.buildkit.attrs import build_job
from kubectl_build.buildkit.caches import cache_exports, cache_imports
from kubectl_build.buildkit.provenance import read_provenance
from kubectl_build.buildkit.response import NAME, parse_descriptor
from kubectl_build.buildkit.solve import Check, SolveJob, SolveResult, attached, run_solve
from kubectl_build.daemons import Link
from kubectl_build.errors import ConnectionLost, ProtocolError
from kubectl_build.layout.cache import open_local_caches, record_local_caches
from kubectl_build.layout.store import LayoutStore
from kubectl_build.model.events import Note, Sink
from kubectl_build.model.json import JsonObject
from kubectl_build.model.platform import Platform
from kubectl_build.model.request import BuildRequest
from kubectl_build.proto import gateway_pb2
from kubectl_build.session.filesend import ExportTarget, FileSend


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One pool's share of a build that succeeded.

    `index` is the bytes of the index it made, None where it made a lone manifest; `provenance` is by the keys of --metadata-file.
    """

    link: Link
    platforms: tuple[Platform, ...]
    result: SolveResult
    index: bytes | None
    provenance: JsonObject = field(default_factory=dict)


LinkCheck = Callable[[Link, gateway_pb2.Result], Awaitable[bool]]
"""As solve.Check, of the daemon behind a link."""


async def solve_share(
    request: BuildRequest,
    link: Link,
    platforms: Sequence[Platform],
    check: LinkCheck,
    *,
    pools: Sequence[str],
    services: Services,
    emit: Sink,
) -> Share:
    """Build `platforms` on the daemon of `link`, which is of one of `pools`; the others build the rest.

    Raises what run_solve raises, and UsageError for a local cache that cannot be used.
    """
    shared = len(pools) > 1
    exports = cache_exports(request, link.pool, pools)
    caches = await asyncio.to_thread(open_local_caches, cache_imports(request, pools), exports)
    for text in caches.skipped:
        emit(Note(text=text, level="warning"))
    job = build_job(request, platforms if request.platforms else (), pool=link.pool, pools=pools, imports=caches.imports)
    job = replace(job, cache_exports=caches.exports)
    result = await solve_job(
        job,
        link,
        lambda answer: check(link, answer),
        services=services,
        emit=emit,
        targets=export_targets(request.exported),
        stores=caches.stores,
        label=link.pool if shared else "",
    )
    if result is None:
        raise ProtocolError("the build ended without a result")
    await asyncio.to_thread(record_local_caches, exports, result.response)
    index = None
    if shared and (request.pushes or NAME in result.response):
        descriptor = parse_descriptor(result.response)
        index = await link.client.read_content(descriptor.digest) if descriptor.is_index else None
    provenance = await _provenance(request, link, result.ref, emit)
    return Share(link=link, platforms=tuple(platforms), result=result, index=index, provenance=provenance)


async def solve_job(
    job: SolveJob,
    link: Link,
    check: Check,
    *,
    services: Services,
    emit: Sink,
    targets: Mapping[int, ExportTarget] | None = None,
    stores: Mapping[str, LayoutStore] | None = None,
    label: str = "",
) -> SolveResult | None:
    """Run `job` on the daemon of `link`, with a session of its own: results go to `targets`, by the exporter's number."""
    send = FileSend(targets or {})
    session = services.session(*([send] if targets else []), stores=stores)
    try:
        async with attached(link.client, session):
            return await run_solve(link.client, session, job, check=check, emit=emit, pool=label)
    except ConnectionLost as error:
        error.final |= send.irrevocable
        raise


async def _provenance(request: BuildRequest, link: Link, ref: str, emit: Sink) -> JsonObject:
    if not request.metadata_provenance:
        return {}
    try:
        return dict(await read_provenance(link.client, ref, full=request.metadata_provenance == "max"))
    except (ConnectionLost, ProtocolError) as error:
        emit(Note(text=f"the provenance is not in the metadata: {error.message}", level="warning"))
        return {}
