"""Files that two pools write together: each output is one, whole, and has what a registry got from the same build."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.kubectl import Namespace, Result
from tests.e2e.registry import Registry, platform_name
from tests.integration.layouts import Image, read_archive, read_layout

DOCKERFILE = """\
FROM busybox AS base
RUN mkdir /data && uname -m >/data/machine && ln -s machine /data/link && ln /data/machine /data/hard && echo same >/data/same
FROM scratch
COPY --from=base /data /
"""
FAILS_ON_ARM = "FROM busybox\nRUN test $(uname -m) = x86_64 || { sleep 1; echo not here; exit 3; }\n"
BOTH = "--platform=linux/amd64,linux/arm64"
MACHINES = {"linux/amd64": b"x86_64\n", "linux/arm64": b"aarch64\n"}
FOLDERS = {platform: platform.replace("/", "_") for platform in MACHINES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """One build over two pools with every output at once. `folder` has nothing but these."""

    repository: str
    folder: Path
    metadata: dict[str, object]
    result: Result


@pytest.fixture(scope="module")
def built(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Built:
    context, folder = tmp_path_factory.mktemp("context"), tmp_path_factory.mktemp("out")
    (context / "Dockerfile").write_text(DOCKERFILE)
    metadata = context / "metadata.json"
    repository = namespace.repository("files")
    result = namespace.kubectl(
        *("build", context, BOTH, "-t", f"{namespace.cluster.registry}/{repository}:v1", "--push", "--registry-secret=my-secret"),
        *("-o", f"type=oci,dest={folder / 'image.tar'}", "-o", f"type=oci,tar=false,dest={folder / 'layout'}"),
        *("-o", f"type=tar,dest={folder / 'files.tar'}", "-o", f"type=local,dest={folder / 'files'}", "--metadata-file", metadata),
    ).ok()
    return Built(repository=repository, folder=folder, metadata=json.loads(metadata.read_text()), result=result)


@pytest.fixture(scope="module")
def warm(built: Built, namespace: Namespace) -> Namespace:
    """The namespace, when both pools run and have built."""
    return namespace


def check_image(image: Image, repository: str, registry: Registry) -> None:
    """Assert that a layout has, to the byte, the index in the registry, and all of both platforms."""
    index = registry.manifest(repository, "v1")
    (entry,) = image.index["manifests"]
    assert entry["digest"] == index.digest
    assert image.blobs[index.digest] == index.data
    assert image.reachable() == set(image.blobs)
    assert [platform_name(child["platform"]) for child in image.document(index.digest)["manifests"]] == list(MACHINES)
    # Of two hard links the second in the layer is a mere link.
    found = {name: i.files.get("hard", i.files.get("machine")) for name, i in registry.images(repository, "v1").items()}
    assert found == MACHINES


def test_files_of_pools_archive_is_the_index_that_was_pushed(built: Built, registry: Registry) -> None:
    check_image(read_archive(built.folder / "image.tar"), built.repository, registry)
    assert built.metadata["containerimage.digest"] == registry.manifest(built.repository, "v1").digest


def test_files_of_pools_layout_is_the_index_that_was_pushed(built: Built, registry: Registry) -> None:
    check_image(read_layout(built.folder / "layout"), built.repository, registry)


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_files_of_pools_archive_is_read_by_skopeo(
    built: Built, namespace: Namespace, registry: Registry, tmp_path: Path, arch: str
) -> None:
    copied = tmp_path / "copied"
    command = ["skopeo", "--insecure-policy", "--override-arch", arch, "copy", f"oci-archive:{built.folder / 'image.tar'}", f"dir:{copied}"]
    done = subprocess.run(command, env=namespace.kubectl.variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr

    manifest = (copied / "manifest.json").read_bytes()
    image = registry.images(built.repository, "v1")[f"linux/{arch}"]
    assert "sha256:" + hashlib.sha256(manifest).hexdigest() == image.digest
    config = json.loads((copied / json.loads(manifest)["config"]["digest"].removeprefix("sha256:")).read_bytes())
    assert config["architecture"] == arch


def test_files_of_pools_tar_has_a_directory_for_each_platform(built: Built) -> None:
    with tarfile.open(built.folder / "files.tar") as archive:
        members = {member.name.strip("./"): member for member in archive if member.name.strip("./")}
        for platform, machine in MACHINES.items():
            folder = FOLDERS[platform]
            found = archive.extractfile(members[f"{folder}/machine"])
            assert found is not None
            assert found.read() == machine
            assert members[f"{folder}/link"].linkname == "machine"
            hard = archive.extractfile(members[f"{folder}/hard"])
            assert hard is not None
            assert hard.read() == machine
    names = {"machine", "link", "hard", "same"}
    assert set(members) - set(FOLDERS.values()) == {f"{folder}/{name}" for folder in FOLDERS.values() for name in names}


def test_files_of_pools_directory_has_a_directory_for_each_platform(built: Built) -> None:
    out = built.folder / "files"
    assert sorted(entry.name for entry in out.iterdir()) == sorted(FOLDERS.values())
    for platform, machine in MACHINES.items():
        assert (out / FOLDERS[platform] / "machine").read_bytes() == machine
        assert os.readlink(out / FOLDERS[platform] / "link") == "machine"
        assert (out / FOLDERS[platform] / "hard").read_bytes() == machine


def test_files_of_pools_leave_nothing_else_behind(built: Built) -> None:
    assert sorted(entry.name for entry in built.folder.iterdir()) == ["files", "files.tar", "image.tar", "layout"]


@pytest.mark.parametrize(("kind", "place"), [("tar", "-"), ("oci", "/dev/stdout")])
def test_files_of_pools_on_stdout_are_the_archive_and_nothing_else(
    warm: Namespace, context: Callable[..., Path], tmp_path: Path, kind: str, place: str
) -> None:
    dest = tmp_path / "stdout"
    into = warm.kubectl.with_prefix("sh", "-c", f'"$@" | cat >{dest}', "sh")

    into("build", context({"Dockerfile": DOCKERFILE}), BOTH, "-o", f"type={kind},dest={place}").ok()

    if kind == "oci":
        image = read_archive(dest)
        assert image.reachable() == set(image.blobs)
        assert len(image.document(image.index["manifests"][0]["digest"])["manifests"]) == len(MACHINES)
    else:
        with tarfile.open(fileobj=io.BytesIO(dest.read_bytes())) as archive:
            assert {f"{folder}/machine" for folder in FOLDERS.values()} <= {member.name.strip("./") for member in archive}


def test_files_of_pools_second_image_is_added_to_a_layout(warm: Namespace, context: Callable[..., Path], tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    for tag, text in (("one", DOCKERFILE), ("two", DOCKERFILE + "LABEL a=b\n"), ("one", DOCKERFILE + "LABEL c=d\n")):
        warm.kubectl("build", context({"Dockerfile": text}), BOTH, "-t", f"team/app:{tag}", "-o", f"type=oci,tar=false,dest={layout}").ok()

    entries = json.loads((layout / "index.json").read_text())["manifests"]
    names = [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in entries]
    assert sorted(names) == ["one", "two"]


def test_files_of_pools_mode_delete_removes_what_no_pool_wrote(warm: Namespace, context: Callable[..., Path], tmp_path: Path) -> None:
    directory = context({"Dockerfile": DOCKERFILE})
    out = tmp_path / "work" / "out"
    (out / "linux_amd64" / "old").mkdir(parents=True)
    (out / "linux_s390x").mkdir()
    (out / "stale").write_text("x")

    flags = (BOTH, "-o", f"type=local,dest={out},mode=delete")
    warm.kubectl("build", directory, *flags).failed(2, "--allow=buildx.local.delete", str(out))
    assert (out / "stale").exists()
    warm.kubectl("build", directory, *flags, "--allow=buildx.local.delete").ok()

    assert sorted(entry.name for entry in out.iterdir()) == sorted(FOLDERS.values())
    assert sorted(entry.name for entry in (out / "linux_amd64").iterdir()) == ["hard", "link", "machine", "same"]


def test_files_of_pools_without_a_split_lie_in_one_directory(warm: Namespace, context: Callable[..., Path], tmp_path: Path) -> None:
    """Each platform's files have names of their own, or the pools would overwrite each other's."""
    text = "FROM busybox AS b\nARG TARGETARCH\nRUN uname -m >/machine-$TARGETARCH\nFROM scratch\nCOPY --from=b /machine-* /\n"
    out = tmp_path / "out"

    warm.kubectl("build", context({"Dockerfile": text}), BOTH, "-o", f"type=local,dest={out},platform-split=false").ok()

    assert {p.name: p.read_text() for p in out.iterdir()} == {"machine-amd64": "x86_64\n", "machine-arm64": "aarch64\n"}


def test_files_of_pools_failure_of_one_platform_leaves_no_file(warm: Namespace, context: Callable[..., Path], tmp_path: Path) -> None:
    folder, temporary = tmp_path / "out", tmp_path / "tmp"
    folder.mkdir()
    temporary.mkdir()
    kinds = {"a.tar": "type=oci", "b.tar": "type=tar", "c": "type=oci,tar=false", "d": "type=local"}
    outputs = [f"{kind},dest={folder / name}" for name, kind in kinds.items()]

    result = warm.kubectl.with_env(TMPDIR=str(temporary))(
        "build", context({"Dockerfile": FAILS_ON_ARM}), BOTH, *[word for output in outputs for word in ("-o", output)]
    )

    result.failed(1, "not here")
    assert list(folder.iterdir()) == []
    assert list(temporary.iterdir()) == []


def test_files_of_pools_failure_keeps_the_file_that_was_there(warm: Namespace, context: Callable[..., Path], tmp_path: Path) -> None:
    dest = tmp_path / "out.tar"
    dest.write_text("of an earlier build")

    warm.kubectl("build", context({"Dockerfile": FAILS_ON_ARM}), BOTH, "-o", f"type=oci,dest={dest}").failed(1, "not here")

    assert dest.read_text() == "of an earlier build"


@pytest.mark.parametrize("kind", ["oci", "tar", "local"])
def test_files_of_pools_that_cannot_be_written_are_refused_before_the_build(
    namespace: Namespace, context: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    """A file system that is read-only refuses root too."""
    place = tmp_path / "place"
    place.mkdir()
    mounted = namespace.kubectl.with_prefix("unshare", "--mount", "sh", "-c", f'mount -t tmpfs -o ro none "{place}" && exec "$@"', "sh")

    result = mounted("build", context({"Dockerfile": DOCKERFILE}), BOTH, "-o", f"type={kind},dest={place / 'sub' / 'out'}")

    result.failed(2, str(place), "cannot be written", "read-only")
    assert "load build definition" not in result.stderr, str(result)
