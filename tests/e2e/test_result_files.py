"""What a build tells other programs of its result: metadata, image IDs, annotations, labels, and digests that stay the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kubectl import Namespace, Result
from tests.e2e.registry import Registry, platform_name
from tests.integration.layouts import read_archive

RUNS = "FROM busybox\nRUN uname -m >/machine\n"
CROSS = "FROM --platform=$BUILDPLATFORM busybox AS b\nARG TARGETARCH\nRUN echo $TARGETARCH >/arch\nFROM scratch\nCOPY --from=b /arch /\n"
ONE, BOTH = "--platform=linux/amd64", "--platform=linux/amd64,linux/arm64"
PLATFORMS = ["linux/amd64", "linux/arm64"]
ALWAYS = {"containerimage.digest", "containerimage.descriptor", "image.name", "buildx.build.ref", "kubectl-build.platforms"}
PROVENANCE = "buildx.build.provenance"


class Builds:
    """Builds of one module, each into a repository of its own."""

    def __init__(self, namespace: Namespace, directory: Path) -> None:
        self._namespace = namespace
        self._directory = directory
        self.repository = ""
        self.name = ""

    def run(self, dockerfile: str, *flags: str | Path, **variables: str) -> Result:
        """Build, and push as `name`."""
        self.repository = self._namespace.repository("result")
        self.name = f"{self._namespace.cluster.registry}/{self.repository}:v1"
        (self._directory / "Dockerfile").write_text(dockerfile)
        kubectl = self._namespace.kubectl.with_env(**variables)
        return kubectl("build", self._directory, "--registry-secret=my-secret", "-t", self.name, "--push", *flags).ok()

    def metadata(self, dockerfile: str, *flags: str | Path, **variables: str) -> dict[str, Any]:
        """Build, and return what is in --metadata-file."""
        file = self._directory.parent / "metadata.json"
        self.run(dockerfile, "--metadata-file", file, *flags, **variables)
        document: dict[str, Any] = json.loads(file.read_text())
        return document


@pytest.fixture
def builds(namespace: Namespace, tmp_path: Path) -> Builds:
    directory = tmp_path / "context"
    directory.mkdir()
    return Builds(namespace, directory)


def test_metadata_of_one_platform_has_buildx_keys(builds: Builds, registry: Registry) -> None:
    found = builds.metadata(RUNS, ONE)

    assert set(found) == {*ALWAYS, "containerimage.config.digest", PROVENANCE}
    manifest = registry.manifest(builds.repository, "v1")
    assert found["containerimage.digest"] == manifest.digest
    assert found["containerimage.config.digest"] == manifest.json["config"]["digest"]
    descriptor = found["containerimage.descriptor"]
    assert (descriptor["digest"], descriptor["size"], descriptor["mediaType"]) == (manifest.digest, len(manifest.data), manifest.media_type)
    assert platform_name(descriptor["platform"]) == "linux/amd64"
    assert found["image.name"] == builds.name
    builder, node, ref = found["buildx.build.ref"].split("/")
    assert (builder, node) == ("buildkit", "buildkit-amd64-0")
    assert len(ref) == 25
    assert "buildConfig" not in found[PROVENANCE]


@pytest.mark.parametrize("dockerfile", [RUNS, CROSS], ids=["two-pools", "one-pool"])
def test_metadata_of_two_platforms_has_the_index_and_a_provenance_for_each(builds: Builds, registry: Registry, dockerfile: str) -> None:
    found = builds.metadata(dockerfile, BOTH)

    assert set(found) == {*ALWAYS, *[f"{PROVENANCE}/{platform}" for platform in PLATFORMS]}
    index = registry.manifest(builds.repository, "v1")
    descriptor = found["containerimage.descriptor"]
    assert (descriptor["digest"], descriptor["size"], descriptor["mediaType"]) == (index.digest, len(index.data), index.media_type)
    assert list(found["kubectl-build.platforms"]) == PLATFORMS


@pytest.mark.parametrize("platforms", [ONE, BOTH])
def test_metadata_provenance_is_as_much_as_is_asked_for(builds: Builds, platforms: str) -> None:
    full = builds.metadata(RUNS, platforms, BUILDX_METADATA_PROVENANCE="max")
    none = builds.metadata(RUNS, platforms, BUILDX_METADATA_PROVENANCE="disabled")

    documents = [value for name, value in full.items() if name.startswith(PROVENANCE)]
    assert len(documents) == platforms.count("/")
    assert all(document["buildConfig"]["llbDefinition"] for document in documents)
    assert not [name for name in none if name.startswith(PROVENANCE)]


@pytest.mark.parametrize("platforms", [ONE, BOTH])
def test_metadata_has_the_warnings_of_the_dockerfile_once_where_they_are_asked_for(builds: Builds, platforms: str) -> None:
    dockerfile = "FROM busybox as lower\nRUN true\n"
    found = builds.metadata(dockerfile, platforms, BUILDX_METADATA_WARNINGS="1")
    assert "buildx.build.warnings" not in builds.metadata(dockerfile, platforms)

    (warning,) = found["buildx.build.warnings"]
    assert set(warning) >= {"vertex", "level", "short", "detail", "url", "sourceInfo", "range"}
    assert warning["range"] == [{"start": {"line": 1}, "end": {"line": 1}}]


@pytest.mark.parametrize("platforms", [ONE, BOTH])
def test_image_id_is_the_same_in_the_file_and_on_stdout(builds: Builds, registry: Registry, tmp_path: Path, platforms: str) -> None:
    file = tmp_path / "iid"

    result = builds.run(RUNS, platforms, "-q", "--iidfile", file)

    manifest = registry.manifest(builds.repository, "v1")
    expected = manifest.json["config"]["digest"] if platforms == ONE else manifest.digest
    assert file.read_text() == expected
    assert result.stdout == f"{expected}\n"
    assert result.stderr == ""


def test_image_id_of_a_build_that_fails_is_not_that_of_an_earlier_one(namespace: Namespace, builds: Builds, tmp_path: Path) -> None:
    file = tmp_path / "iid"
    file.write_text("sha256:old")
    failing = tmp_path / "failing"
    failing.mkdir()
    (failing / "Dockerfile").write_text("FROM busybox\nRUN false\n")
    namespace.kubectl("build", failing, "--iidfile", file).failed(1)
    assert not file.exists()


def test_annotations_of_all_kinds_are_where_their_kinds_say(builds: Builds, registry: Registry, tmp_path: Path) -> None:
    layout = tmp_path / "image.tar"
    kinds = {
        "manifest": "m=1",
        "manifest[linux/arm64]": "only=arm",
        "index": "i=2",
        "manifest-descriptor": "md=3",
        "index-descriptor": "id=4",
    }
    flags = [word for kind, value in kinds.items() for word in ("--annotation", f"{kind}:{value}")]

    found = builds.metadata(
        RUNS, BOTH, *flags, "--annotation", "index,manifest:both=5", "--annotation", "plain=6", "-o", f"type=oci,dest={layout}"
    )

    index = registry.manifest(builds.repository, "v1").json
    assert index["annotations"] == {"i": "2", "both": "5"}
    for child in index["manifests"]:
        assert child["annotations"] == {"md": "3"}
        own = {"only": "arm"} if child["platform"]["architecture"] == "arm64" else {}
        assert registry.manifest(builds.repository, child["digest"]).json["annotations"] == {"m": "1", "both": "5", "plain": "6", **own}
    (entry,) = read_archive(layout).index["manifests"]
    assert entry["annotations"]["id"] == "4"
    assert found["containerimage.descriptor"]["annotations"]["id"] == "4"


def test_annotations_of_one_platform_are_in_its_manifest(builds: Builds, registry: Registry) -> None:
    builds.run(RUNS, ONE, "--annotation", "plain=1", "--annotation", "manifest:m=2")
    assert registry.manifest(builds.repository, "v1").json["annotations"] == {"plain": "1", "m": "2"}


def test_labels_of_flags_win_over_the_dockerfiles(builds: Builds, registry: Registry) -> None:
    builds.run(RUNS + "LABEL a=1 b=1\n", BOTH, "--label", "b=2", "--label", "c=d=e", "--label", "empty")
    for image in registry.images(builds.repository, "v1").values():
        assert image.config["config"]["Labels"] == {"a": "1", "b": "2", "c": "d=e", "empty": ""}


@pytest.mark.parametrize(
    ("compression", "media_type"), [("zstd", "tar+zstd"), ("uncompressed", "tar"), ("gzip", "tar+gzip"), ("estargz", "tar+gzip")]
)
def test_compression_of_all_layers_is_what_is_asked_for(builds: Builds, registry: Registry, compression: str, media_type: str) -> None:
    output = f"type=image,push=true,compression={compression},force-compression=true,oci-mediatypes=true"

    builds.run(RUNS, BOTH, "-o", output)

    for child in registry.manifest(builds.repository, "v1").json["manifests"]:
        layers = registry.manifest(builds.repository, child["digest"]).json["layers"]
        assert len(layers) == 2
        assert {layer["mediaType"] for layer in layers} == {f"application/vnd.oci.image.layer.v1.{media_type}"}
        indexed = ["containerd.io/snapshot/stargz/toc.digest" in layer.get("annotations", {}) for layer in layers]
        assert indexed == [compression == "estargz"] * 2


@pytest.mark.parametrize("mode", ["none", "quiet"])
def test_progress_that_is_not_wanted_is_not_shown(builds: Builds, mode: str) -> None:
    result = builds.run(RUNS, ONE, f"--progress={mode}")
    assert "#1" not in result.stderr
    assert "RUN" not in result.stderr
    assert result.stdout.startswith("sha256:") == (mode == "quiet")
    if mode == "none":
        assert result.stdout == ""


@pytest.mark.parametrize("mode", ["none", "quiet"])
def test_progress_that_is_not_shown_still_tells_why_a_build_failed(namespace: Namespace, context: Callable[..., Path], mode: str) -> None:
    directory = context({"Dockerfile": "FROM busybox\nRUN echo the reason; exit 3\n"})
    result = namespace.kubectl("build", directory, f"--progress={mode}").failed(1, "the reason", "exit code: 3")
    assert result.stdout == ""


def test_digest_with_rewritten_times_is_the_same_from_a_new_builder(namespace: Namespace, builds: Builds, registry: Registry) -> None:
    """Last in this module: the builder is removed."""
    dockerfile = RUNS + "COPY Dockerfile /copied\nRUN mkdir -p /some/where && touch /some/where/now\n"
    output = "type=image,push=true,rewrite-timestamp=true"
    first = builds.metadata(dockerfile, BOTH, "-o", output, SOURCE_DATE_EPOCH="1700000000")
    namespace.kubectl("buildkit", "rm", "buildkit").ok()

    second = builds.metadata(dockerfile, BOTH, "-o", output, SOURCE_DATE_EPOCH="1700000000")

    assert second["containerimage.digest"] == first["containerimage.digest"]
    for image in registry.images(builds.repository, "v1").values():
        assert image.config["created"] == "2023-11-14T22:13:20Z"
        assert {entry["created"] for entry in image.config["history"][-3:]} == {"2023-11-14T22:13:20Z"}
