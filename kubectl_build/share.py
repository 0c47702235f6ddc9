"""One pool's share of a build: its solve, and what is read back from the daemon."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from kubectl_build.attachables import Services
from kubectl_build.buildkit.build import solve_request
from kubectl_build.buildkit.layers import read_layers
from kubectl_build.buildkit.provenance import read_provenance
from kubectl_build.buildkit.response import DESCRIPTOR, parse_descriptor
from kubectl_build.buildkit.solve import SolveResult
from kubectl_build.buildkit.sources import llb_sources
from kubectl_build.daemons import Link
from kubectl_build.errors import ConnectionLost, ProtocolError
from kubectl_build.model.events import Note, Sink
from kubectl_build.model.json import JsonObject
from kubectl_build.model.observed import ImageLayer, Observer, PoolBegun, PoolMade
from kubectl_build.model.platform import Platform
from kubectl_build.model.request import BuildRequest
from kubectl_build.proto import gateway_pb2
from kubectl_build.values import dataclass

if TYPE_CHECKING:  # needed where several pools build, and only then loaded
    from kubectl_build.joinfiles import JoinedFiles


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
    files: JoinedFiles | None = None,
    observe: Observer | None = None,
) -> Share:
    """Build `platforms` on the daemon of `link`, which is of one of `pools`; the others build the rest, and `files` takes the shares.

    `observe` is told what a report needs, which costs some reading. Raises what solve_request raises.
    """

    async def checked(answer: gateway_pb2.Result) -> bool:
        if observe is not None:
            observe(_begun(link, platforms, answer, several=len(pools) > 1))
        return await check(link, answer)

    result = await solve_request(
        request,
        link.client,
        platforms if request.platforms else (),
        checked,
        services=services,
        emit=emit,
        pool=link.pool,
        pools=pools,
        targets=files.targets(link.pool) if files else None,
    )
    index = None
    if len(pools) > 1 and DESCRIPTOR in result.response:
        descriptor = parse_descriptor(result.response)
        index = await link.client.read_content(descriptor.digest) if descriptor.is_index else None
    provenance = await _provenance(request, link, result.ref, emit)
    if observe is not None:
        observe(PoolMade(pool=link.pool, ref=result.ref, images=await _layers(link, result, emit)))
    return Share(link=link, platforms=tuple(platforms), result=result, index=index, provenance=provenance)


async def _provenance(request: BuildRequest, link: Link, ref: str, emit: Sink) -> JsonObject:
    if not request.metadata_provenance:
        return {}
    try:
        return dict(await read_provenance(link.client, ref, full=request.metadata_provenance == "max"))
    except (ConnectionLost, ProtocolError) as error:
        emit(Note(text=f"the provenance is not in the metadata: {error.message}", level="warning"))
        return {}


def _begun(link: Link, platforms: Sequence[Platform], answer: gateway_pb2.Result, *, several: bool) -> PoolBegun:
    names = tuple(map(str, platforms))
    return PoolBegun(
        pool=link.pool,
        label=link.pool if several else "",
        pod=link.name,
        node=link.node,
        version=link.info.version,
        platforms=names,
        sources=llb_sources(answer, names),
    )


async def _layers(link: Link, result: SolveResult, emit: Sink) -> dict[str, tuple[ImageLayer, ...]]:
    if DESCRIPTOR not in result.response:
        return {}
    try:
        return await read_layers(link.client, [parse_descriptor(result.response)])
    except (ConnectionLost, ProtocolError) as error:
        emit(Note(text=f"the sizes of layers are not in the report: {error.message}", level="warning"))
        return {}
