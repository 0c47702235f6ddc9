"""One pool's share of a build: its solve, and what is read back from the daemon."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from kubectl_build.attachables import Services
from kubectl_build.buildkit.build import solve_request
from kubectl_build.buildkit.provenance import read_provenance
from kubectl_build.buildkit.response import DESCRIPTOR, parse_descriptor
from kubectl_build.buildkit.solve import SolveResult
from kubectl_build.daemons import Link
from kubectl_build.errors import ConnectionLost, ProtocolError
from kubectl_build.joinfiles import JoinedFiles
from kubectl_build.model.events import Note, Sink
from kubectl_build.model.json import JsonObject
from kubectl_build.model.platform import Platform
from kubectl_build.model.request import BuildRequest
from kubectl_build.proto import gateway_pb2


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
) -> Share:
    """Build `platforms` on the daemon of `link`, which is of one of `pools`; the others build the rest, and `files` takes the shares.

    Raises what solve_request raises.
    """
    result = await solve_request(
        request,
        link.client,
        platforms if request.platforms else (),
        lambda answer: check(link, answer),
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
    return Share(link=link, platforms=tuple(platforms), result=result, index=index, provenance=provenance)


async def _provenance(request: BuildRequest, link: Link, ref: str, emit: Sink) -> JsonObject:
    if not request.metadata_provenance:
        return {}
    try:
        return dict(await read_provenance(link.client, ref, full=request.metadata_provenance == "max"))
    except (ConnectionLost, ProtocolError) as error:
        emit(Note(text=f"the provenance is not in the metadata: {error.message}", level="warning"))
        return {}
