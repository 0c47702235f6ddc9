"""`imagetools create`: images that are in registries, joined into one index, written under every tag."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from kubectl_build.errors import ungrouped
from kubectl_build.model.events import Note, Sink, StatusUpdate, VertexLog
from kubectl_build.model.json import JsonObject
from kubectl_build.model.platform import Platform
from kubectl_build.model.reference import Reference
from kubectl_build.model.request import Annotation
from kubectl_build.registry.combine import Combined, Part, annotations_dropped, combine, select, unattested
from kubectl_build.registry.copy import ATTESTATION, Copier
from kubectl_build.registry.pool import Registries
from kubectl_build.registry.sources import Named, in_repository, load_source
from kubectl_build.registry.steps import shown_step
from kubectl_build.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRequest:
    """What to join, in order, and how; `tags` are where it is written, and with `sources` tell the repository of mere digests."""

    sources: tuple[Named, ...]
    tags: tuple[Reference, ...] = ()
    annotations: tuple[Annotation, ...] = ()
    platforms: tuple[Platform, ...] = ()
    prefer_index: bool = True


async def join_images(request: CreateRequest, registries: Registries, *, emit: Sink) -> Combined:
    """Read the sources and make what is to be written. Raises UsageError, RegistryError."""
    named = in_repository(request.sources, request.tags)
    with ungrouped():
        async with asyncio.TaskGroup() as group:
            loads = [group.create_task(load_source(registries, source)) for source in named]
    combined = combine([load.result() for load in loads], request.annotations, prefer_index=request.prefer_index)
    if annotations_dropped(combined, request.annotations):
        emit(Note(text="the annotations are left out: all images are of Docker's types, whose list has none", level="warning"))
    with ungrouped():
        async with asyncio.TaskGroup() as group:
            asked = unattested(combined, request.platforms)
            found = [group.create_task(_attestation(registries, part)) for part in asked]
    attestations = {part.descriptor["digest"]: entry for part, task in zip(asked, found, strict=True) if (entry := task.result())}
    return select(combined, request.platforms, attestations)


async def _attestation(registries: Registries, part: Part) -> JsonObject | None:
    """The attestation that the source's registry has as a referrer of an image."""
    place = await registries.place(part.source.reference)
    found = await place.client.referrers(place.repository, part.descriptor["digest"], artifact_types=(ATTESTATION,))
    return found[0] if found else None


async def write_image(combined: Combined, tags: Sequence[Reference], registries: Registries, *, emit: Sink) -> None:
    """Copy what is missing to the repository of each tag, then write the tags. Raises RegistryError; repositories are independent.

    Each repository is shown as a step. A tag changes only when all that it needs is in its repository.
    """
    by_repository: dict[str, list[Reference]] = {}
    for tag in tags:
        by_repository.setdefault(tag.repository, []).append(tag)
    with ungrouped():
        async with asyncio.TaskGroup() as group:
            for repository, own in by_repository.items():
                group.create_task(_write(combined, repository, own, registries, emit))


async def _write(combined: Combined, repository: str, tags: Sequence[Reference], registries: Registries, emit: Sink) -> None:
    with shown_step(f"[internal] pushing {repository}", repository.encode(), emit) as step:

        def tell(text: str) -> None:
            emit(StatusUpdate(logs=(VertexLog(vertex=step, data=f"{text}\n".encode(), timestamp=time.time()),)))

        target = await registries.place(tags[0])
        copier = Copier(target, tell)
        with ungrouped():
            async with asyncio.TaskGroup() as group:
                for part in combined.parts:
                    tell(f"copying {part.descriptor['digest']} from {part.source.reference} to {repository}")
                    group.create_task(copier.copy(await registries.place(part.source.reference), part.descriptor["digest"]))
        for tag in tags:
            tell(f"pushing {combined.descriptor['digest']} to {tag}")
            await target.client.put_manifest(target.repository, tag.tag, combined.data, combined.descriptor["mediaType"])
