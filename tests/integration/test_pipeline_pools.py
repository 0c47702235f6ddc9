"""Builds over two pools, and what becomes of them when a connection breaks. Both pods are the same real daemon."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubectl_build.builder.find import find_builder
from kubectl_build.cluster.resources import NODES
from kubectl_build.errors import ConnectionLost
from kubectl_build.model.events import Note, Phase, StatusUpdate, told_once
from kubectl_build.model.reference import parse_reference
from kubectl_build.model.request import Emulation, Output, OutputType
from kubectl_build.pipeline import build
from tests.cluster import tools
from tests.cluster.registries import Kind, Registry, run_registry
from tests.fakes.kube_exec import ExecCall
from tests.integration.test_pipeline import AMD64, ARM64, Bench, add_builder, bench, node
from tests.integration.test_registry import free_address

__all__ = ["bench"]

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]  # the first run may fetch the registry

RUN = 'FROM scratch\nCOPY prog /\nRUN ["/prog", "--version"]\n'


@pytest.fixture
def mixed(bench: Bench) -> Bench:
    """A cluster of two architectures, with a program in the context that every platform's RUN can start."""
    bench.api.add(NODES, node("arm64-0", "arm64"))
    add_builder(bench.api, "amd64", "arm64")
    shutil.copy(tools.ensure(["buildctl"])["buildctl"], bench.context / "prog")
    return bench


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    binary = tools.ensure(["docker-registry"])["docker-registry"]
    with run_registry(Kind.INSECURE, tmp_path_factory.mktemp("registry"), free_address(), binary=binary) as running:
        yield running


def image(**attrs: str) -> Output:
    return Output(type=OutputType.IMAGE, attrs=attrs)


async def test_build_that_is_not_pushed_has_the_same_digest_from_two_pools_as_from_one(
    mixed: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pod has an emulator by its name, which is what the client asks for; the program of the RUN needs none."""
    emulator = tmp_path / "bin" / "buildkit-qemu-aarch64"
    emulator.parent.mkdir()
    emulator.write_text("#!/bin/sh\n")
    emulator.chmod(0o755)
    monkeypatch.setenv("PATH", str(emulator.parent), prepend=os.pathsep)
    tags = (parse_reference("reg.invalid/app:1"),)
    request = mixed.request(RUN, platforms=(AMD64, ARM64), tags=tags, outputs=(image(),))
    alone = mixed.request(RUN, platforms=(AMD64, ARM64), tags=tags, outputs=(image(),), emulation=Emulation.ALWAYS)

    two = await build(request, mixed.kube, emit=mixed.events.append, environ={})
    one = await build(alone, mixed.kube, emit=mixed.events.append, environ={})

    assert [place.pool for place in two.places] == ["amd64", "arm64"]
    assert [place.pool for place in one.places] == ["amd64", "amd64"]
    assert two.digest == two.image_id == one.digest
    assert two.metadata["image.name"] == "reg.invalid/app:1"
    assert two.metadata["buildx.build.ref"].startswith("buildkit/buildkit-amd64-0/")


async def test_build_pushed_by_digest_from_two_pools_writes_the_index_and_no_tag(mixed: Bench, registry: Registry) -> None:
    output = image(push="true", **{"push-by-digest": "true", "registry.insecure": "TRUE"})
    tags = (parse_reference(f"{registry.address}/untagged"),)
    request = mixed.request(RUN, platforms=(AMD64, ARM64), tags=tags, outputs=(output,))

    result = await build(request, mixed.kube, emit=mixed.events.append, environ={})

    url = f"http://{registry.address}/v2/untagged"
    index = await asyncio.to_thread(fetch, f"{url}/manifests/{result.digest}")
    assert [entry["platform"]["architecture"] for entry in index["manifests"]] == ["amd64", "arm64"]
    with pytest.raises(urllib.error.HTTPError, match="404"):
        await asyncio.to_thread(fetch, f"{url}/manifests/latest")
    assert [str(name) for name in result.pushed] == [f"{registry.address}/untagged"]


def fetch(url: str) -> dict[str, list[dict[str, dict[str, str]]]]:
    accept = "application/vnd.oci.image.index.v1+json, application/json"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept}), timeout=10) as answer:
        found: dict[str, list[dict[str, dict[str, str]]]] = json.load(answer)
        return found


async def test_build_of_two_pools_writes_both_trees_into_one_directory(mixed: Bench, tmp_path: Path) -> None:
    output = Output(type=OutputType.LOCAL, dest=str(tmp_path / "out"))

    result = await build(mixed.request(RUN, platforms=(AMD64, ARM64), outputs=(output,)), mixed.kube, emit=mixed.events.append, environ={})

    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("prog") if "out" in str(path)) == [
        "out/linux_amd64/prog",
        "out/linux_arm64/prog",
    ]
    assert result.digest == ""


async def test_build_whose_stage_names_its_platform_is_built_where_that_is_native(mixed: Bench, registry: Registry) -> None:
    """One platform needs no planning solve, as it seems; but its own pool would emulate what another one runs."""
    base = f"{registry.address}/base:1"
    await build(
        mixed.request("FROM scratch\nCOPY prog /\n", platforms=(AMD64,), tags=(parse_reference(base),), outputs=(image(push="true"),)),
        mixed.kube,
        emit=lambda event: None,
        environ={},
    )
    pinned = f'FROM --platform=linux/amd64 {base} AS made\nRUN ["/prog", "--version"]\nFROM scratch\nCOPY --from=made /prog /\n'

    result = await build(mixed.request(pinned, platforms=(ARM64,)), mixed.kube, emit=mixed.events.append, environ={})

    assert [(place.mode, place.pool, place.pod) for place in result.places] == [("native", "amd64", "buildkit-amd64-0")]
    assert mixed.notes().count("PLATFORM") == 1


async def test_pool_that_stays_away_ends_the_build_of_all_pools(mixed: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool that plans must not begin the whole build again when another one's tries are used up."""
    monkeypatch.setenv("KUBECTL_BUILD_DEADLINES", "reconnect=1ms")
    serve, dials = mixed.api.exec_handler, 0
    assert serve is not None

    async def only_the_first(call: ExecCall) -> int | None:
        nonlocal dials
        dials += 1
        return await serve(call) if dials == 1 else None

    mixed.api.exec_handler = only_the_first

    with pytest.raises(ConnectionLost, match="the builder could not be reached again"):
        await build(mixed.request(RUN, platforms=(AMD64, ARM64)), mixed.kube, emit=mixed.events.append, environ={})
    tries = [event.pool for event in mixed.events if isinstance(event, Phase) and event.name == "connect"]
    assert tries == ["amd64", "arm64", "arm64"]
    assert dials >= len(tries)  # not all are of our making: under load a fourth was seen
    assert mixed.notes().count("trying again") == 1
    assert mixed.notes().count("PLATFORM") == 1


async def test_build_that_is_cancelled_while_the_connection_breaks_is_not_tried_again(bench: Bench) -> None:
    serve = bench.api.exec_handler
    assert serve is not None

    async def run() -> None:
        await build(bench.request("FROM scratch\nCOPY big /\n"), bench.kube, emit=bench.events.append, environ={})

    async def cut(call: ExecCall) -> int | None:
        read, seen = call.read, 0

        async def counted() -> bytes:
            nonlocal seen
            data = await read()
            seen += len(data)
            if seen > 4000:
                task.cancel()
                return b""
            return data

        call.read = counted  # type: ignore[method-assign]  # the fake's own call object
        return await serve(call)

    bench.api.exec_handler = cut
    (bench.context / "big").write_bytes(os.urandom(20_000_000))
    task = asyncio.create_task(run())

    with pytest.raises((asyncio.CancelledError, ConnectionLost)):
        await task
    assert "trying again" not in bench.notes()


async def test_output_to_stdout_that_breaks_is_not_begun_again(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    """What is in a pipe cannot be taken back: a second try would follow half a file."""
    serve = bench.api.exec_handler
    assert serve is not None

    async def cut(call: ExecCall) -> int | None:
        write, seen = call.write, 0

        async def counted(data: bytes) -> None:
            nonlocal seen
            seen += len(data)
            if seen > 4_000_000:  # much more than can lie between here and there
                raise ConnectionError
            await write(data)

        call.write = counted  # type: ignore[method-assign]  # the fake's own call object
        return await serve(call)

    (bench.context / "big").write_bytes(b"x" * 8_000_000)
    request = bench.request("FROM scratch\nCOPY big /\n")
    await build(request, bench.kube, emit=bench.events.append, environ={})
    bench.api.exec_handler = cut

    with pytest.raises(ConnectionLost):
        await build(
            bench.request("FROM scratch\nCOPY big /\n", outputs=(Output(type=OutputType.TAR, dest="-"),)),
            bench.kube,
            emit=bench.events.append,
            environ={},
        )
    assert "trying again" not in bench.notes()
    out = capfd.readouterr().out
    assert len(out) > 100_000
    assert out.startswith("big\0")
    assert out.count("big\0") == 1
    assert len(out) < 8_000_000


async def test_builder_without_pools_is_used_by_someone_who_may_not_list_nodes(bench: Bench) -> None:
    from kubectl_build.builder.spec import BuilderSpec
    from kubectl_build.builder.state import Builder
    from kubectl_build.pools import pool_candidates

    found = await find_builder(bench.kube, "buildkit", emit=bench.events.append)
    assert found is not None
    empty = Builder(name="buildkit", namespace="default", spec=BuilderSpec())

    assert pool_candidates(empty, None, None, (ARM64,)).architectures == ("arm64",)
    assert pool_candidates(found, None, None, (ARM64,)).architectures == ("amd64",)
    assert pool_candidates(None, BuilderSpec(platforms=(AMD64,)), {"arm64": 2, "amd64": 1}, (ARM64,)).architectures == ("amd64",)


def test_note_is_told_once_but_waits_and_steps_each_time() -> None:
    seen: list[object] = []
    emit = told_once(seen.append)

    for event in (
        Note(text="a"),
        Note(text="a"),
        Note(text="w", level="wait"),
        Note(text="w", level="wait"),
        StatusUpdate(),
        StatusUpdate(),
    ):
        emit(event)

    assert seen == [Note(text="a"), Note(text="w", level="wait"), Note(text="w", level="wait"), StatusUpdate(), StatusUpdate()]
