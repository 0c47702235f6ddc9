"""Results that come to the client: their contents, not just their presence; and the files beside them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

from tests.e2e.kubectl import Namespace
from tests.e2e.registry import platform_name, read_image

DOCKERFILE = """\
FROM busybox AS base
COPY --chmod=640 hello /data/hello
RUN ln -s hello /data/link && ln /data/hello /data/hard && mkdir -m 711 /data/dir

FROM scratch
LABEL from=dockerfile
COPY --from=base /data /
"""
FILES: dict[str, str | bytes] = {"Dockerfile": DOCKERFILE, "hello": "hello\n"}


def test_local_output_of_one_platform_has_files_links_and_modes(namespace: Namespace, context: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "out"

    namespace.kubectl("build", context(FILES), "--output", f"type=local,dest={out}").ok()

    assert sorted(p.name for p in out.iterdir()) == ["dir", "hard", "hello", "link"]
    assert (out / "hello").read_text() == "hello\n"
    assert (out / "hello").stat().st_mode & 0o777 == 0o640
    assert (out / "dir").stat().st_mode & 0o777 == 0o711
    assert (out / "link").readlink() == Path("hello")
    assert (out / "hard").read_text() == "hello\n"


def test_local_output_of_two_pools_has_a_directory_for_each_platform(
    namespace: Namespace, context: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    files = {"Dockerfile": "FROM busybox AS b\nRUN uname -m >/machine\nFROM scratch\nCOPY --from=b /machine /\n"}

    namespace.kubectl("build", context(files), "--platform=linux/amd64,linux/arm64", "-o", out).ok()

    assert {str(p.relative_to(out)): p.read_text() for p in out.rglob("machine")} == {
        "linux_amd64/machine": "x86_64\n",
        "linux_arm64/machine": "aarch64\n",
    }


def test_tar_output_to_stdout_is_the_archive_and_nothing_else(namespace: Namespace, context: Callable[..., Path], tmp_path: Path) -> None:
    dest = tmp_path / "out.tar"

    result = namespace.kubectl("build", context(FILES), "-o", f"type=tar,dest={dest}").ok()
    piped = namespace.kubectl.with_prefix("sh", "-c", 'exec "$@" | sha256sum', "sh")("build", context(FILES), "-o", "-").ok()

    with tarfile.open(dest) as archive:
        assert {"hello", "hard", "link", "dir"} <= {member.name.strip("./") for member in archive}
    assert result.stdout == ""
    assert len(piped.stdout.split()[0]) == 64


def test_oci_output_is_a_layout_whose_index_names_the_image(namespace: Namespace, context: Callable[..., Path], tmp_path: Path) -> None:
    dest, iid, metadata = tmp_path / "image.tar", tmp_path / "iid", tmp_path / "metadata.json"

    namespace.kubectl(
        *("build", context(FILES), "-t", "example.com/team/app:1", "-o", f"type=oci,dest={dest}", "--label", "by=test"),
        *("--iidfile", iid, "--metadata-file", metadata),
    ).ok()

    with tarfile.open(dest) as archive:
        blobs = {member.name: (archive.extractfile(member) or io.BytesIO()).read() for member in archive if member.isfile()}
    assert json.loads(blobs["oci-layout"])["imageLayoutVersion"] == "1.0.0"
    descriptor = json.loads(blobs["index.json"])["manifests"][0]
    manifest = json.loads(blobs["blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")])
    config = json.loads(blobs["blobs/sha256/" + manifest["config"]["digest"].removeprefix("sha256:")])
    assert descriptor["annotations"]["io.containerd.image.name"] == "example.com/team/app:1"
    assert config["config"]["Labels"] == {"from": "dockerfile", "by": "test"}
    assert iid.read_text() == manifest["config"]["digest"]
    told = json.loads(metadata.read_text())
    assert told["containerimage.digest"] == descriptor["digest"]
    assert told["kubectl-build.platforms"]["linux/amd64"]["pod"] == "buildkit-amd64-0"


def test_oci_output_of_two_platforms_is_one_index_of_whole_images(
    namespace: Namespace, context: Callable[..., Path], tmp_path: Path
) -> None:
    platforms = ["linux/amd64", "linux/arm64"]
    dockerfile = (
        "FROM --platform=$BUILDPLATFORM busybox AS b\nARG TARGETPLATFORM\nRUN echo $TARGETPLATFORM >/p\nFROM scratch\nCOPY --from=b /p /\n"
    )
    dest = tmp_path / "image.tar"

    namespace.kubectl("build", context({"Dockerfile": dockerfile}), f"--platform={','.join(platforms)}", "-o", f"type=oci,dest={dest}").ok()

    with tarfile.open(dest) as archive:
        files = {member.name: found.read() for member in archive if (found := archive.extractfile(member))}

    def blob(digest: str) -> bytes:
        data = files[f"blobs/{digest.replace(':', '/')}"]
        assert hashlib.sha256(data).hexdigest() == digest.removeprefix("sha256:")
        return data

    (top,) = json.loads(files["index.json"])["manifests"]
    descriptors = json.loads(blob(top["digest"]))["manifests"]
    assert [platform_name(descriptor["platform"]) for descriptor in descriptors] == platforms
    for descriptor, platform in zip(descriptors, platforms, strict=True):
        manifest = json.loads(blob(descriptor["digest"]))
        config = json.loads(blob(manifest["config"]["digest"]))
        image = read_image(descriptor["digest"], config, [blob(layer["digest"]) for layer in manifest["layers"]])
        assert image.platform == platform
        assert image.files["p"].decode() == f"{platform}\n"


def test_docker_output_can_be_loaded_by_its_manifest(namespace: Namespace, context: Callable[..., Path], tmp_path: Path) -> None:
    dest = tmp_path / "docker.tar"

    namespace.kubectl("build", context(FILES), "-t", "app:1", "-o", f"type=docker,dest={dest}").ok()

    with tarfile.open(dest) as archive:
        manifest = json.load(archive.extractfile("manifest.json") or io.BytesIO(b"null"))
    assert manifest[0]["RepoTags"] == ["app:1"]


def test_quiet_build_prints_only_the_image_id(namespace: Namespace, context: Callable[..., Path]) -> None:
    result = namespace.kubectl("build", context(FILES), "-t", "app:1", "-q").ok()

    assert result.stdout.startswith("sha256:")
    assert result.stdout.count("\n") == 1
    assert result.stderr == ""


def test_build_without_output_says_where_the_result_is(namespace: Namespace, context: Callable[..., Path]) -> None:
    result = namespace.kubectl("build", context(FILES), "--progress=plain").ok()

    assert "only in the builder's cache" in result.stderr
    assert "--push" in result.stderr
    assert result.stdout == ""
