"""Shares of several pools joined into one file, compared with what one daemon writes for all platforms. Both pools are one real daemon."""

from __future__ import annotations

import asyncio
import os
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kubectl_build.buildkit.response import DIGEST, NAME, raw_descriptor
from kubectl_build.errors import ProtocolError, SolveError, UsageError
from kubectl_build.joinfiles import JoinedFiles, joined_files, pool_request
from kubectl_build.layout.outputs import layout_output, record_layout
from kubectl_build.model.inputs import Dockerfile, LocalContext
from kubectl_build.model.platform import Platform
from kubectl_build.model.reference import parse_reference
from kubectl_build.model.request import Annotation, BuildRequest, Emulation, Output, OutputType
from kubectl_build.pipeline import build
from kubectl_build.session.content import EXPORT_STORE
from kubectl_build.session.filesend import DirTarget, FileTarget
from tests.integration.layouts import peak_memory, read_archive, read_layout, solve
from tests.integration.test_pipeline import Bench, bench
from tests.integration.test_pipeline_pools import RUN, mixed

__all__ = ["bench", "mixed"]

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")
RISCV = Platform("linux", "riscv64")
PLATFORMS = (RISCV, AMD64, ARM64)
SHARES = {"amd64": (RISCV, AMD64), "arm64": (ARM64,)}
"""What each pool builds. In a tar the second one's platform stands between those of the first."""


@pytest.fixture
def request_(tmp_path: Path) -> BuildRequest:
    """A build with all that a tar may hold, for three platforms."""
    context = tmp_path / "context"
    (context / "tree" / "sub").mkdir(parents=True)
    (context / "Dockerfile").write_text("FROM scratch\nCOPY tree /tree\nARG TARGETARCH\nCOPY Dockerfile /for-$TARGETARCH\n")
    (context / "tree" / "a").write_bytes(os.urandom(1_500_001))
    (context / "tree" / "a").chmod(0o4750)
    os.link(context / "tree" / "a", context / "tree" / "sub" / "hard")
    (context / "tree" / "link").symlink_to("../nowhere")
    (context / "tree" / ("long" * 40)).write_text(str(tmp_path))
    os.setxattr(context / "tree" / "a", "user.note", b"value\0\xff")
    return BuildRequest(
        context=LocalContext(context),
        dockerfile=Dockerfile(directory=context),
        platforms=PLATFORMS,
        build_args={"SOURCE_DATE_EPOCH": "1700000000"},
    )


def output(kind: OutputType, dest: Path | str, **attrs: str) -> Output:
    return Output(type=kind, dest=str(dest), attrs=attrs)


async def send(buildkitd: Path, request: BuildRequest, joined: JoinedFiles, pools: Sequence[str] = tuple(SHARES)) -> None:
    """Let each pool build its share and send it, all at once."""
    asked = pool_request(request)
    async with asyncio.TaskGroup() as group:
        for pool in pools:
            group.create_task(solve(buildkitd, asked, SHARES[pool], pool=pool, pools=tuple(SHARES), targets=joined.targets(pool)))


async def join(buildkitd: Path, request: BuildRequest) -> dict[int, Any]:
    async with joined_files(request.exported, tuple(SHARES)) as joined:
        await send(buildkitd, request, joined)
        return dict(await joined.finish(request.platforms))


def left_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.name != "context")


_NAMED = {"tags": (parse_reference("reg.invalid:5000/app:1"), parse_reference("other:2"))}
_ANNOTATED = {
    "annotations": (
        Annotation(kind="index", key="of.index", value="<i> & j"),
        Annotation(kind="manifest", key="of.manifest", value="m"),
        Annotation(kind="manifest-descriptor", key="of.one", value="d", platform=ARM64),
        Annotation(kind="index-descriptor", key="of.the.index", value="x"),
    )
}


@pytest.mark.parametrize("changes", [{}, _NAMED, {**_NAMED, **_ANNOTATED}], ids=["nameless", "named", "annotated"])
async def test_archive_of_two_pools_has_the_bytes_of_one_daemons(
    buildkitd: Path, tmp_path: Path, request_: BuildRequest, changes: dict[str, Any]
) -> None:
    request = replace(request_, outputs=(output(OutputType.OCI, tmp_path / "new" / "joined.tar"),), **changes)
    made = await join(buildkitd, request)
    result = await solve(buildkitd, request, targets={0: FileTarget(tmp_path / "one.tar")})

    assert (tmp_path / "new" / "joined.tar").read_bytes() == (tmp_path / "one.tar").read_bytes()
    assert made[0].digest == result.response[DIGEST]
    assert left_in(tmp_path / "new") == ["joined.tar"]
    image = read_archive(tmp_path / "new" / "joined.tar")
    assert image.reachable() == set(image.blobs)


async def test_archive_with_attestations_has_all_that_they_need(buildkitd: Path, tmp_path: Path, request_: BuildRequest) -> None:
    request = replace(request_, attests={"provenance": "mode=max"}, outputs=(output(OutputType.OCI, tmp_path / "joined.tar"),))

    made = await join(buildkitd, request)

    image = read_archive(tmp_path / "joined.tar")
    assert image.reachable() == set(image.blobs)
    index = image.document(made[0].digest)
    kinds = [
        entry.get("annotations", {}).get("vnd.docker.reference.type", entry["platform"]["architecture"]) for entry in index["manifests"]
    ]
    assert kinds == ["riscv64", "amd64", "arm64", *["attestation-manifest"] * 3]


@pytest.mark.parametrize("changes", [{}, _NAMED], ids=["nameless", "named"])
async def test_layout_of_two_pools_is_that_of_one_daemon(
    buildkitd: Path, tmp_path: Path, request_: BuildRequest, changes: dict[str, Any]
) -> None:
    request = replace(request_, outputs=(output(OutputType.OCI, tmp_path / "joined", tar="false"),), **changes)
    await join(buildkitd, request)
    alone = replace(request, outputs=(output(OutputType.OCI, tmp_path / "one", tar="false"),))
    store = layout_output(alone.exported)
    assert store is not None
    result = await solve(buildkitd, alone, stores={EXPORT_STORE: store})
    record_layout(store, raw_descriptor(result.response), result.response.get(NAME, ""))

    assert (tmp_path / "joined" / "index.json").read_bytes() == (tmp_path / "one" / "index.json").read_bytes()
    assert read_layout(tmp_path / "joined") == read_layout(tmp_path / "one")
    assert left_in(tmp_path) == ["joined", "one"]


async def test_tar_of_two_pools_has_the_bytes_of_one_daemons(buildkitd: Path, tmp_path: Path, request_: BuildRequest) -> None:
    request = replace(request_, outputs=(output(OutputType.TAR, tmp_path / "joined.tar"),))
    made = await join(buildkitd, request)
    await solve(buildkitd, request, targets={0: FileTarget(tmp_path / "one.tar")})

    assert (tmp_path / "joined.tar").read_bytes() == (tmp_path / "one.tar").read_bytes()
    assert made == {}
    with tarfile.open(tmp_path / "joined.tar") as tar:
        assert [member.name for member in tar if "/" not in member.name] == ["linux_amd64", "linux_arm64", "linux_riscv64"]
        member = tar.getmember("linux_arm64/tree/a")
        assert (member.mode, member.pax_headers["SCHILY.xattr.user.note"]) == (0o4750, "value\0\udcff")
        assert tar.getmember("linux_arm64/tree/sub/hard").linkname == "linux_arm64/tree/a"


async def test_several_outputs_of_two_pools_are_told_apart(
    buildkitd: Path, tmp_path: Path, request_: BuildRequest, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    outputs = (
        output(OutputType.OCI, tmp_path / "a", tar="false", compression="uncompressed", **{"force-compression": "true"}),
        Output(type=OutputType.CACHEONLY),
        output(OutputType.TAR, "-"),
        # Said outright: a daemon that has just exported a layer uncompressed may take that one where nothing is said.
        output(OutputType.OCI, tmp_path / "b", tar="false", compression="gzip", **{"force-compression": "true"}),
    )
    request = replace(request_, outputs=outputs)

    made = await join(buildkitd, request)

    first, second = read_layout(tmp_path / "a"), read_layout(tmp_path / "b")
    assert [image.index["manifests"][0]["digest"] for image in (first, second)] == [made[0].digest, made[2].digest]
    assert made[0].digest != made[2].digest
    written = capfdbinary.readouterr().out
    await solve(buildkitd, replace(request, outputs=(outputs[2],)), targets={0: FileTarget(tmp_path / "one.tar")})
    assert written == (tmp_path / "one.tar").read_bytes()
    assert left_in(tmp_path) == ["a", "b", "one.tar"]


async def test_mirror_of_two_pools_has_what_both_sent_and_no_more(buildkitd: Path, tmp_path: Path, request_: BuildRequest) -> None:
    for stale in ("out/linux_amd64/tree/old", "out/linux_s390x/x", "out/y"):
        (tmp_path / stale).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / stale).write_text("old")
    request = replace(request_, outputs=(output(OutputType.LOCAL, tmp_path / "out", mode="delete"),))
    await join(buildkitd, request)
    await solve(buildkitd, request, targets={0: DirTarget(tmp_path / "one", mirror=True)})

    def described(root: Path) -> dict[str, tuple[int, int]]:
        return {str(path.relative_to(root)): (path.lstat().st_mode, path.lstat().st_mtime_ns) for path in root.rglob("*")}

    assert described(tmp_path / "out") == described(tmp_path / "one")
    assert "linux_riscv64/tree/sub/hard" in described(tmp_path / "out")


@pytest.mark.parametrize("kind", [{}, {"tar": "false"}], ids=["archive", "layout"])
async def test_share_that_is_missing_or_broken_leaves_nothing(
    buildkitd: Path, tmp_path: Path, request_: BuildRequest, kind: dict[str, str]
) -> None:
    request = replace(request_, outputs=(output(OutputType.OCI, tmp_path / "joined", **kind),))

    async with joined_files(request.exported, tuple(SHARES)) as joined:
        await send(buildkitd, request, joined, ["amd64"])
        with pytest.raises(ProtocolError, match="arm64 sent nothing"):
            await joined.finish(PLATFORMS)
        await send(buildkitd, request, joined, ["arm64"])
        target = joined.targets("amd64")[0]  # layers that both have are taken from the first
        assert isinstance(target, FileTarget)
        _flip_a_layer(Path(target.dest))  # type: ignore[arg-type]  # a path
        with pytest.raises(ProtocolError, match="other bytes than those of sha256:"):
            await joined.finish(PLATFORMS)

    assert left_in(tmp_path) == []


def _flip_a_layer(archive: Path) -> None:
    """Change one byte in the middle of the longest blob."""
    with tarfile.open(archive) as tar:
        member = max(tar, key=lambda member: member.size)
    with archive.open("r+b") as file:
        file.seek(member.offset_data + member.size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


async def test_tree_of_a_pool_is_not_written_before_all_have_built(buildkitd: Path, tmp_path: Path, request_: BuildRequest) -> None:
    request = replace(request_, outputs=(output(OutputType.LOCAL, tmp_path / "out"),))

    async with joined_files(request.exported, tuple(SHARES)) as joined:
        target = joined.targets("arm64")[0]
        assert isinstance(target, DirTarget)
        assert target.ready is not None
        async with asyncio.TaskGroup() as group:
            first = group.create_task(send(buildkitd, request, joined, ["amd64"]))
            await asyncio.wait([first], timeout=2)
            assert not first.done()
            assert left_in(tmp_path) == []
            group.create_task(send(buildkitd, request, joined, ["arm64"]))
        await joined.finish(PLATFORMS)

    assert left_in(tmp_path / "out") == ["linux_amd64", "linux_arm64", "linux_riscv64"]


async def test_tree_of_a_build_that_fails_on_one_pool_is_not_written(mixed: Bench, tmp_path: Path) -> None:
    """The command fails on the second pool only, when the first one may have built long ago."""
    stages = 'FROM scratch AS amd64\nFROM scratch AS arm64\nCOPY prog /\nRUN ["/prog", "nonsense"]\n'
    dockerfile = f'ARG TARGETARCH\n{stages}FROM $TARGETARCH\nCOPY prog /x\nRUN ["/x", "-v"]\n'
    request = mixed.request(dockerfile, platforms=(AMD64, ARM64), outputs=(output(OutputType.LOCAL, tmp_path / "out"),))

    with pytest.raises(SolveError, match="nonsense"):
        await build(request, mixed.kube, emit=mixed.events.append, environ={})

    assert "linux/amd64  native  amd64" in mixed.notes()
    assert "linux/arm64  native  arm64" in mixed.notes()
    assert not (tmp_path / "out").exists()


async def test_join_of_other_platforms_than_were_asked_for_is_refused(buildkitd: Path, tmp_path: Path, request_: BuildRequest) -> None:
    request = replace(request_, outputs=(output(OutputType.OCI, tmp_path / "joined"),))

    async with joined_files(request.exported, tuple(SHARES)) as joined:
        await send(buildkitd, request, joined)
        with pytest.raises(ProtocolError, match="linux/riscv64, which was not requested"):
            await joined.finish((AMD64, ARM64))

    assert left_in(tmp_path) == []


async def test_join_that_is_cancelled_leaves_nothing(buildkitd: Path, tmp_path: Path, request_: BuildRequest) -> None:
    request = replace(request_, outputs=(output(OutputType.OCI, tmp_path / "a"), output(OutputType.OCI, tmp_path / "b", tar="false")))

    async with joined_files(request.exported, tuple(SHARES)) as joined:
        await send(buildkitd, request, joined)
        task = asyncio.create_task(joined.finish(PLATFORMS))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert left_in(tmp_path) == []


def test_docker_output_of_several_pools_is_refused(request_: BuildRequest, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="output type docker holds one platform"):
        pool_request(replace(request_, outputs=(output(OutputType.DOCKER, tmp_path / "x"),)))


async def test_share_of_an_output_in_the_context_is_put_elsewhere(tmp_path: Path, request_: BuildRequest) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "context")
    inside = [output(OutputType.OCI, tmp_path / "link" / "new" / "x.tar"), output(OutputType.TAR, tmp_path / "context" / "x.tar")]

    async with joined_files([*inside, output(OutputType.TAR, tmp_path / "context2.tar")], ["amd64"], read=[tmp_path / "link"]) as joined:
        targets = joined.targets("amd64")

    places = [Path(target.dest) for target in targets.values() if isinstance(target, FileTarget) and not isinstance(target.dest, int)]
    assert [place.is_relative_to(tmp_path / "context") for place in places] == [False] * 3
    assert places[2].parent.parent == tmp_path
    last = targets[2]
    assert isinstance(last, FileTarget)
    assert last.shown == f'the parts of output "{tmp_path / "context2.tar"}" in "{tmp_path}"'
    assert not (tmp_path / "context" / "new").exists()


async def test_output_to_a_pipe_gets_the_archive(buildkitd: Path, tmp_path: Path, request_: BuildRequest) -> None:
    dest = tmp_path / "pipe"
    os.mkfifo(dest)
    request = replace(request_, outputs=(output(OutputType.OCI, dest),))
    reading = asyncio.create_task(asyncio.to_thread(dest.read_bytes))

    await join(buildkitd, request)
    (tmp_path / "read.tar").write_bytes(await reading)

    image = read_archive(tmp_path / "read.tar")
    assert image.reachable() == set(image.blobs)
    assert left_in(tmp_path) == ["pipe", "read.tar"]


async def test_output_below_a_file_is_refused_before_the_build(request_: BuildRequest, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    request = replace(request_, outputs=(output(OutputType.OCI, tmp_path / "file" / "x.tar"),))

    with pytest.raises(UsageError, match=r"x\.tar"):
        async with joined_files(request.exported, tuple(SHARES)):
            pytest.fail("it was begun")


@pytest.mark.parametrize(
    ("kind", "attrs"), [(OutputType.OCI, {}), (OutputType.OCI, {"tar": "false"}), (OutputType.TAR, {})], ids=["oci", "layout", "tar"]
)
async def test_build_over_two_pools_writes_what_one_pool_writes(
    mixed: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: OutputType, attrs: dict[str, str]
) -> None:
    """The pod has an emulator by its name, which is what the client asks for; the program of the RUN needs none."""
    emulator = tmp_path / "bin" / "buildkit-qemu-aarch64"
    emulator.parent.mkdir()
    emulator.write_text("#!/bin/sh\n")
    emulator.chmod(0o755)
    monkeypatch.setenv("PATH", str(emulator.parent), prepend=os.pathsep)
    request = mixed.request(
        RUN + "COPY . /all\n",  # and the output is in the context
        platforms=(ARM64, AMD64),
        tags=(parse_reference("reg.invalid/app:1"),),
        outputs=(output(kind, mixed.context / "two", **attrs),),
        build_args={"SOURCE_DATE_EPOCH": "1700000000"},
    )
    alone = replace(request, outputs=(output(kind, tmp_path / "one", **attrs),), emulation=Emulation.ALWAYS)

    two = await build(request, mixed.kube, emit=mixed.events.append, environ={})
    (mixed.context / "two").rename(tmp_path / "two")
    one = await build(alone, mixed.kube, emit=mixed.events.append, environ={})

    assert [place.pool for place in two.places] == ["arm64", "amd64"]
    assert [place.pool for place in one.places] == ["amd64", "amd64"]
    if attrs:
        assert read_layout(tmp_path / "two") == read_layout(tmp_path / "one")
    else:
        assert (tmp_path / "two").read_bytes() == (tmp_path / "one").read_bytes()
    assert two.digest == one.digest
    assert list(tmp_path.rglob(".*")) == []


async def test_join_of_big_shares_takes_little_memory(buildkitd: Path, tmp_path: Path, request_: BuildRequest) -> None:
    directory = request_.dockerfile.directory
    assert directory is not None
    with (directory / "big").open("wb") as big:
        big.truncate(300 << 20)
    (directory / "Dockerfile").write_text("FROM scratch\nCOPY big /\n")
    big_layer = {"compression": "uncompressed", "force-compression": "true"}
    request = replace(
        request_,
        platforms=(AMD64, ARM64),
        outputs=(output(OutputType.OCI, tmp_path / "joined.tar", **big_layer), output(OutputType.TAR, tmp_path / "trees.tar")),
    )
    before = peak_memory(reset=True)

    async with joined_files(request.exported, tuple(SHARES)) as joined:
        asked = pool_request(request)
        for pool, platform in {"amd64": AMD64, "arm64": ARM64}.items():
            await solve(buildkitd, asked, [platform], pool=pool, pools=("amd64", "arm64"), targets=joined.targets(pool))
        await joined.finish(request.platforms)

    assert peak_memory() - before < 100 << 20
    assert (tmp_path / "joined.tar").stat().st_size > 300 << 20
    assert (tmp_path / "trees.tar").stat().st_size > 600 << 20
    with tarfile.open(tmp_path / "trees.tar") as tar:
        assert [(member.name, member.size) for member in tar if member.isreg()] == [
            ("linux_amd64/big", 300 << 20),
            ("linux_arm64/big", 300 << 20),
        ]
