"""Registries that fail for the moment: what is pushed is begun again, with every step cached."""

from __future__ import annotations

import asyncio
import secrets
import urllib.request
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from kubectl_build.errors import RegistryError
from kubectl_build.model.events import BuildEvent, Note, StatusUpdate
from kubectl_build.model.reference import parse_reference
from kubectl_build.pipeline import build
from tests.cluster.registries import Registry
from tests.fakes.serving import serving
from tests.integration.test_pipeline import AMD64, ARM64, Bench, bench
from tests.integration.test_pipeline_pools import RUN, image, mixed, registry

__all__ = ["bench", "mixed", "registry"]

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]  # the first run may fetch the registry


class Gate:
    """A way to a registry that breaks every connection while it is not `open`."""

    def __init__(self, target: str) -> None:
        self.open = True
        self.address = ""
        self.broken = 0
        self._host, _, self._port = target.rpartition(":")
        self._writers: set[asyncio.StreamWriter] = set()

    def shut(self) -> None:
        """Break what is open, too."""
        self.open = False
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one connection."""
        if not self.open:
            self.broken += 1
            with suppress(ConnectionError):
                await reader.read(1)
            writer.transport.abort()
            return
        other_reader, other_writer = await asyncio.open_connection(self._host, int(self._port))
        ends = {writer, other_writer}
        self._writers |= ends
        try:
            tasks = [asyncio.create_task(_copy(reader, other_writer)), asyncio.create_task(_copy(other_reader, writer))]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        finally:
            self._writers -= ends
            for end in ends:
                end.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(64 * 1024):
            writer.write(data)
            await writer.drain()


@pytest.fixture
async def gate(registry: Registry) -> AsyncIterator[Gate]:
    made = Gate(registry.address)
    async with serving(made.serve) as port:
        made.address = f"127.0.0.1:{port}"
        yield made


def digest_of(registry: Registry, repository: str) -> str:
    accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"
    request = urllib.request.Request(f"http://{registry.address}/v2/{repository}/manifests/1", method="HEAD", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(answer.headers["Docker-Content-Digest"])


async def test_push_that_breaks_is_begun_again_and_every_step_is_cached(bench: Bench, registry: Registry, gate: Gate) -> None:
    gate.shut()

    def emit(event: BuildEvent) -> None:
        bench.events.append(event)
        if isinstance(event, Note) and "trying again" in event.text:
            gate.open = True

    name = parse_reference(f"{gate.address}/broken:1")
    fresh = f"# {secrets.token_hex(8)}\n"  # so that the daemon has not copied it for another test
    request = bench.request(f"FROM scratch\n{fresh}COPY Dockerfile /\n", tags=(name,), outputs=(image(push="true"),))

    result = await build(request, bench.kube, emit=emit, environ={})

    assert gate.broken
    assert "trying again (2 of 3): every finished step is cached" in bench.notes()
    copies = [v for e in bench.events if isinstance(e, StatusUpdate) for v in e.vertexes if "COPY" in v.name and v.completed]
    assert [copies[0].cached, copies[-1].cached] == [False, True]
    assert await asyncio.to_thread(digest_of, registry, "broken") == result.digest


async def test_push_that_stays_broken_is_a_registry_error_after_the_last_try(bench: Bench, gate: Gate) -> None:
    gate.shut()
    name = parse_reference(f"{gate.address}/down:1")
    request = bench.request("FROM scratch\nCOPY Dockerfile /\n", tags=(name,), outputs=(image(push="true"),), retries=0)

    with pytest.raises(RegistryError, match=r"failed to push .*/down:1") as caught:
        await build(request, bench.kube, emit=bench.events.append, environ={})

    assert caught.value.exit_code == 6
    assert "trying again" not in bench.notes()


async def test_index_whose_push_breaks_is_written_in_the_next_try(mixed: Bench, registry: Registry, gate: Gate) -> None:
    def emit(event: BuildEvent) -> None:
        mixed.events.append(event)
        begun = isinstance(event, StatusUpdate) and any("pushing the index" in v.name and not v.completed for v in event.vertexes)
        if begun and "trying again" not in mixed.notes():
            gate.shut()
        if isinstance(event, Note) and "trying again" in event.text:
            gate.open = True

    name = parse_reference(f"{gate.address}/index:1")
    request = mixed.request(RUN, platforms=(AMD64, ARM64), tags=(name,), outputs=(image(push="true"),))

    result = await build(request, mixed.kube, emit=emit, environ={})

    assert "trying again (2 of 3)" in mixed.notes()
    assert await asyncio.to_thread(digest_of, registry, "index") == result.digest
