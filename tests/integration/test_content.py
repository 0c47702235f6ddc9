"""The session's content store with a real buildkitd: layouts written and read, caches exported and imported."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from kubectl_build.buildkit.daemon import open_daemon
from kubectl_build.buildkit.response import DIGEST, NAME, raw_descriptor
from kubectl_build.errors import UsageError
from kubectl_build.layout.index import find_entry, read_index
from kubectl_build.layout.outputs import layout_output, record_layout
from kubectl_build.layout.store import LayoutStore
from kubectl_build.model.events import BuildEvent, Note, StatusUpdate
from kubectl_build.model.inputs import Dockerfile, LayoutContext, LocalContext
from kubectl_build.model.platform import Platform
from kubectl_build.model.reference import parse_reference
from kubectl_build.model.request import BuildRequest, CacheEntry, Output, OutputType
from kubectl_build.session.content import EXPORT_STORE
from kubectl_build.session.filesend import DirTarget, FileTarget
from tests.cluster import tools
from tests.integration.buildkitd import running_buildkitd
from tests.integration.buildx import buildx_on
from tests.integration.layouts import peak_memory, read_archive, read_layout, solve

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")
EPOCH = {"SOURCE_DATE_EPOCH": "1700000000"}


@pytest.fixture
def request_(tmp_path: Path) -> BuildRequest:
    """A build of two files, for two platforms, with a name."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY a /\nARG TARGETARCH\nCOPY b /b-$TARGETARCH\n")
    (context / "a").write_text(f"a {tmp_path}")
    (context / "b").write_bytes(os.urandom(3_000_000))
    return BuildRequest(
        context=LocalContext(context),
        dockerfile=Dockerfile(directory=context),
        platforms=(AMD64, ARM64),
        build_args=EPOCH,
        tags=(parse_reference("reg.invalid:5000/app:1"), parse_reference("other:2")),
    )


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def _oci(dest: Path, **attrs: str) -> Output:
    return Output(type=OutputType.OCI, attrs=attrs, dest=str(dest))


async def _write_layout(buildkitd: Path, request: BuildRequest, dest: Path) -> str:
    """Build `request` into a layout at `dest`; return the image's digest."""
    written = replace(request, outputs=(_oci(dest, tar="false"),))
    store = layout_output(written.exported)
    assert store is not None
    result = await solve(buildkitd, written, stores={EXPORT_STORE: store})
    record_layout(store, raw_descriptor(result.response), result.response.get(NAME, ""))
    return result.response[DIGEST]


async def test_layout_output_has_the_blobs_and_the_index_of_the_archive(buildkitd: Path, tmp_path: Path, request_: BuildRequest) -> None:
    digest = await _write_layout(buildkitd, request_, tmp_path / "deep" / "layout")
    await solve(buildkitd, replace(request_, outputs=(_oci(tmp_path / "image.tar"),)), targets={0: FileTarget(tmp_path / "image.tar")})

    layout, archive = read_layout(tmp_path / "deep" / "layout"), read_archive(tmp_path / "image.tar")
    assert layout == archive
    assert layout.reachable() == set(layout.blobs)
    assert [entry["digest"] for entry in layout.index["manifests"]] == [digest, digest]
    assert [entry["annotations"]["io.containerd.image.name"] for entry in layout.index["manifests"]] == [
        "reg.invalid:5000/app:1",
        "docker.io/library/other:2",
    ]
    modes = {file.stat().st_mode & 0o777 for file in (tmp_path / "deep" / "layout" / "blobs").rglob("*") if file.is_file()}
    assert modes == {0o444}


@pytest.mark.parametrize("named", [True, False], ids=["named", "nameless"])
async def test_layout_and_cache_are_those_of_buildx(buildkitd: Path, tmp_path: Path, request_: BuildRequest, named: bool) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    request = request_ if named else replace(request_, tags=())
    tags = [f"--tag={tag}" for tag in request.tags]
    buildx = buildx_on(buildkitd, _made(tmp_path / "home"))
    for folder in (ours, theirs):  # twice: what is there is kept or replaced alike
        for tag in ("t", "u"):
            output, cache = _oci(folder / "layout", tar="false"), _local("dest", folder / "cache", tag=tag)
            if folder == ours:
                await _build(buildkitd, replace(request, outputs=(output,), cache_to=(cache,)))
                continue
            options = [f"--output=type=oci,tar=false,dest={output.dest}", f"--cache-to=type=local,dest={cache.attrs['dest']},tag={tag}"]
            options += ["--platform=linux/amd64,linux/arm64", "--build-arg=SOURCE_DATE_EPOCH=1700000000", *tags]
            done = buildx("build", *options, str(tmp_path / "context"))
            assert done.returncode == 0, done.stderr

    for part in ("layout", "cache"):
        assert (ours / part / "index.json").read_bytes() == (theirs / part / "index.json").read_bytes()
        shutil.rmtree(theirs / part / "ingest")  # empty; ours is gone when nothing is being written
        assert read_layout(ours / part) == read_layout(theirs / part)


async def test_cache_of_buildx_is_imported(buildkitd: Path, tmp_path: Path, steps: BuildRequest) -> None:
    buildx = buildx_on(buildkitd, _made(tmp_path / "home"))
    done = buildx("build", f"--cache-to=type=local,dest={tmp_path / 'cache'},mode=max", str(tmp_path / "steps"))
    assert done.returncode == 0, done.stderr

    with running_buildkitd(_made(tmp_path / "fresh")) as fresh:
        events = await _build(fresh, replace(steps, cache_from=(_local("src", tmp_path / "cache"),)))

    assert 'RUN ["/prog", "--version"]' in _cached(events)


async def test_layout_output_again_and_with_another_image_keeps_both(buildkitd: Path, tmp_path: Path, request_: BuildRequest) -> None:
    nameless = replace(request_, tags=())
    first = await _write_layout(buildkitd, nameless, tmp_path / "layout")
    assert await _write_layout(buildkitd, nameless, tmp_path / "layout") == first
    second = await _write_layout(buildkitd, replace(request_, labels={"x": "y"}), tmp_path / "layout")

    layout = read_layout(tmp_path / "layout")
    refs = [(entry["digest"], entry["annotations"]["org.opencontainers.image.ref.name"]) for entry in layout.index["manifests"]]
    assert refs == [(first, "latest"), (second, "1"), (second, "2")]
    assert layout.reachable() == set(layout.blobs)


async def test_layout_output_over_a_blob_that_was_cut_short_writes_it_anew(buildkitd: Path, tmp_path: Path, request_: BuildRequest) -> None:
    await _write_layout(buildkitd, request_, tmp_path / "layout")
    big = max((tmp_path / "layout" / "blobs" / "sha256").iterdir(), key=lambda blob: blob.stat().st_size)
    big.chmod(0o644)
    os.truncate(big, 1000)

    await _write_layout(buildkitd, request_, tmp_path / "layout")

    layout = read_layout(tmp_path / "layout")
    assert layout.reachable() == set(layout.blobs)


async def test_layout_is_a_context_that_a_build_begins_from(buildkitd: Path, tmp_path: Path, request_: BuildRequest) -> None:
    digest = await _write_layout(buildkitd, request_, tmp_path / "layout")
    context = tmp_path / "second"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM base AS image\nFROM scratch\nCOPY --from=image / /\n")
    request = BuildRequest(
        context=LocalContext(context),
        dockerfile=Dockerfile(directory=context),
        named_contexts={"base": LayoutContext(tmp_path / "layout", digest, "abcdef0123")},
        platforms=(ARM64,),
        outputs=(Output(type=OutputType.LOCAL, dest=str(tmp_path / "out")),),
    )
    before = read_layout(tmp_path / "layout")

    # A daemon without the image: else it would not read the layout.
    with running_buildkitd(_made(tmp_path / "fresh")) as fresh:
        await solve(fresh, request, targets={0: DirTarget(tmp_path / "out")})

    first = request_.dockerfile.directory
    assert first is not None
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {
        "a": (first / "a").read_bytes(),
        "b-arm64": (first / "b").read_bytes(),
    }
    assert read_layout(tmp_path / "layout") == before


async def test_layout_context_without_the_digest_is_an_error_that_names_it(buildkitd: Path, tmp_path: Path, request_: BuildRequest) -> None:
    digest = "sha256:" + "7" * 64
    context = LayoutContext(tmp_path, digest, "abc")
    request = replace(request_, named_contexts={"base": context}, platforms=())
    (tmp_path / "context" / "Dockerfile").write_text("FROM base\n")

    with pytest.raises(Exception, match=digest):
        await solve(buildkitd, request)


def _cached(events: list[BuildEvent]) -> set[str]:
    """The steps that were not run."""
    last = {vertex.digest: vertex for event in events if isinstance(event, StatusUpdate) for vertex in event.vertexes}
    return {re.sub(r"^\[.*?\] ", "", vertex.name) for vertex in last.values() if vertex.cached}


@pytest.fixture
def steps(tmp_path: Path) -> BuildRequest:
    """A build with a command."""
    context = tmp_path / "steps"
    context.mkdir()
    shutil.copy(tools.ensure(["buildctl"])["buildctl"], context / "prog")
    (context / "Dockerfile").write_text('FROM scratch\nCOPY prog /\nRUN ["/prog", "--version"]\n')
    return BuildRequest(context=LocalContext(context), dockerfile=Dockerfile(directory=context))


async def _build(buildkitd: Path, request: BuildRequest) -> list[BuildEvent]:
    events: list[BuildEvent] = []
    async with open_daemon(f"unix://{buildkitd}") as daemon:
        await daemon.build_request(request, emit=events.append)
    return events


def _local(kind: str, path: Path, **attrs: str) -> CacheEntry:
    return CacheEntry(type="local", attrs={kind: str(path), **attrs})


@pytest.mark.parametrize("folder", ["cache", "Zwischenspeicher ä"])
async def test_local_cache_of_one_daemon_spares_another_one_the_steps(
    buildkitd: Path, tmp_path: Path, steps: BuildRequest, folder: str
) -> None:
    cache = tmp_path / folder
    events = await _build(buildkitd, replace(steps, cache_from=(_local("src", cache),), cache_to=(_local("dest", cache, mode="max"),)))

    assert ["nothing is imported from the local cache" in event.text for event in events if isinstance(event, Note)] == [True]
    layout = read_layout(cache)
    assert [entry["annotations"] for entry in layout.index["manifests"]] == [{"org.opencontainers.image.ref.name": "latest"}]
    assert layout.reachable() == set(layout.blobs)
    with running_buildkitd(_made(tmp_path / "fresh")) as fresh:
        events = await _build(fresh, replace(steps, cache_from=(_local("src", cache),)))
    assert {"COPY prog /", "RUN [/prog --version]"} <= {name.replace('"', "").replace(",", "") for name in _cached(events)}


async def test_local_caches_under_several_tags_at_once_lose_none(buildkitd: Path, tmp_path: Path, steps: BuildRequest) -> None:
    cache = tmp_path / "cache"
    async with asyncio.TaskGroup() as group:
        for tag in ("a", "b", "c", "d"):
            request = replace(steps, labels={"tag": tag}, cache_to=(_local("dest", cache, tag=tag, mode="max"),))
            group.create_task(_build(buildkitd, request))

    layout = read_layout(cache)
    assert sorted(entry["annotations"]["org.opencontainers.image.ref.name"] for entry in layout.index["manifests"]) == ["a", "b", "c", "d"]
    assert layout.reachable() == set(layout.blobs)


async def test_local_cache_that_is_reset_has_only_what_its_tags_lead_to(buildkitd: Path, tmp_path: Path, steps: BuildRequest) -> None:
    cache = tmp_path / "cache"
    entry = _local("dest", cache, mode="max", reset="true")
    await _build(buildkitd, replace(steps, cache_to=(entry,)))
    assert steps.dockerfile.directory is not None
    (steps.dockerfile.directory / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    for blob in (cache / "blobs" / "sha256").iterdir():
        os.utime(blob, (0, 0))

    await _build(buildkitd, replace(steps, cache_to=(entry,)))

    layout = read_layout(cache)
    assert layout.reachable() == set(layout.blobs)
    assert not any(len(blob) > 1_000_000 for blob in layout.blobs.values())


def test_second_layout_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only one output"):
        layout_output((_oci(tmp_path / "a", tar="false"), _oci(tmp_path / "b"), _oci(tmp_path / "c", tar="0")))
    assert layout_output((_oci(tmp_path / "b"),)) is None


async def test_layout_output_with_a_big_layer_takes_little_memory(buildkitd: Path, tmp_path: Path, request_: BuildRequest) -> None:
    directory = request_.dockerfile.directory
    assert directory is not None
    with (directory / "big").open("wb") as big:
        big.truncate(300 << 20)
    (directory / "Dockerfile").write_text("FROM scratch\nCOPY big /\n")
    request = replace(request_, platforms=(AMD64,))
    output = _oci(tmp_path / "layout", tar="false", compression="uncompressed", **{"force-compression": "true"})
    before = peak_memory(reset=True)

    await solve(buildkitd, replace(request, outputs=(output,)), stores={EXPORT_STORE: LayoutStore(tmp_path / "layout")})

    assert peak_memory() - before < 100 << 20
    sizes = [blob.stat().st_size for blob in (tmp_path / "layout" / "blobs" / "sha256").iterdir()]
    assert max(sizes) > 300 << 20
    (layer,) = [blob for blob in (tmp_path / "layout" / "blobs" / "sha256").iterdir() if blob.stat().st_size > 300 << 20]
    with tarfile.open(layer) as tar:
        assert tar.getmember("big").size == 300 << 20


async def test_local_cache_entry_of_a_tag_is_found_by_it(buildkitd: Path, tmp_path: Path, steps: BuildRequest) -> None:
    await _build(buildkitd, replace(steps, cache_to=(_local("dest", tmp_path / "cache", tag="x"),)))

    index = read_index(tmp_path / "cache")
    assert find_entry(index, "x") is not None
    assert find_entry(index, "latest") is None
