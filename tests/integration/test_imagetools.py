"""`imagetools create` and `inspect` against a real registry, byte for byte what docker buildx makes of the same images."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import tools
from tests.cluster.registries import Kind, run_registry
from tests.integration.test_registry import free_address

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]  # the first run may build docker buildx

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."
TYPES = {
    "oci": (f"{OCI}manifest.v1+json", f"{OCI}config.v1+json", f"{OCI}layer.v1.tar+gzip", f"{OCI}index.v1+json"),
    "docker": (
        f"{DOCKER}distribution.manifest.v2+json",
        f"{DOCKER}container.image.v1+json",
        f"{DOCKER}image.rootfs.diff.tar.gzip",
        f"{DOCKER}distribution.manifest.list.v2+json",
    ),
}
SPDX = {"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "packages": [{"name": "b<&>"}, {"name": "a"}], "n": 1700000000}
SLSA = {"builder": {"id": ""}, "buildType": "https://mobyproject.org/buildkit@v1", "materials": []}


@dataclass(frozen=True)
class Target:
    """A registry on this machine, written to without the product."""

    address: str

    def request(self, method: str, path: str, data: bytes | None = None, content_type: str = "application/octet-stream") -> Any:
        url = path if path.startswith("http") else f"http://{self.address}/v2/{path}"
        accept = ", ".join(types[i] for types in TYPES.values() for i in (0, 3))
        headers = {"Content-Type": content_type, "Accept": accept}
        return urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=10)

    def blob(self, repository: str, data: bytes, media_type: str, **extra: Any) -> dict[str, Any]:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        with self.request("POST", f"{repository}/blobs/uploads/", b"") as begun:
            location = begun.headers["Location"]
        self.request("PUT", f"{location}&digest={digest}", data).close()
        return {"mediaType": media_type, "digest": digest, "size": len(data), **extra}

    def manifest(self, repository: str, reference: str, document: dict[str, Any]) -> dict[str, Any]:
        data = json.dumps(document, indent=1).encode()
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.request("PUT", f"{repository}/manifests/{reference or digest}", data, document["mediaType"]).close()
        return {"mediaType": document["mediaType"], "digest": digest, "size": len(data)}

    def image(self, repository: str, tag: str, platform: dict[str, str], *, kind: str = "oci", **config: Any) -> dict[str, Any]:
        """Push an image whose config says `platform`; return its descriptor."""
        manifest_type, config_type, layer_type, _ = TYPES[kind]
        said = {**platform, "created": "2024-05-01T10:20:30.120Z", "rootfs": {"type": "layers", "diff_ids": []}, **config}
        layer = f"layer of {platform} in {repository} ".encode() * 5000
        return self.manifest(
            repository,
            tag,
            {
                "schemaVersion": 2,
                "mediaType": manifest_type,
                "config": self.blob(repository, json.dumps(said).encode(), config_type),
                "layers": [self.blob(repository, layer, layer_type)],
            },
        )

    def attestation(self, repository: str, subject: str) -> dict[str, Any]:
        """Push an attestation manifest with an SBOM and a provenance for the image `subject`; return its descriptor for an index."""
        layers = [
            self.blob(
                repository,
                json.dumps({"predicateType": kind, "predicate": predicate, "subject": subject}).encode(),
                "application/vnd.in-toto+json",
                annotations={"in-toto.io/predicate-type": kind},
            )
            for kind, predicate in (("https://spdx.dev/Document", SPDX), ("https://slsa.dev/provenance/v0.2", SLSA))
        ]
        config = self.blob(repository, b'{"architecture":"unknown","os":"unknown"}', TYPES["oci"][1])
        descriptor = self.manifest(repository, "", {"schemaVersion": 2, "mediaType": TYPES["oci"][0], "config": config, "layers": layers})
        annotations = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": subject}
        return {**descriptor, "annotations": annotations, "platform": {"architecture": "unknown", "os": "unknown"}}

    def index(self, repository: str, tag: str, manifests: list[dict[str, Any]], *, kind: str = "oci") -> dict[str, Any]:
        return self.manifest(repository, tag, {"schemaVersion": 2, "mediaType": TYPES[kind][3], "manifests": manifests})

    def read(self, repository: str, reference: str) -> bytes:
        with self.request("GET", f"{repository}/manifests/{reference}") as answer:
            data: bytes = answer.read()
        return data

    def complete(self, repository: str, reference: str) -> None:
        """Check that all that a manifest refers to is in the repository, and has its digest."""
        document = json.loads(self.read(repository, reference))
        for entry in document.get("manifests", ()):
            self.complete(repository, entry["digest"])
        for blob in [*filter(None, [document.get("config")]), *document.get("layers", ())]:
            with self.request("GET", f"{repository}/blobs/{blob['digest']}") as answer:
                assert "sha256:" + hashlib.sha256(answer.read()).hexdigest() == blob["digest"]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    binary = tools.ensure(["docker-registry"])["docker-registry"]
    with run_registry(Kind.INSECURE, tmp_path_factory.mktemp("target"), free_address(), binary=binary) as registry:
        yield Target(registry.address)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    binary = tools.ensure(["docker-registry"])["docker-registry"]
    with run_registry(Kind.INSECURE, tmp_path_factory.mktemp("other"), free_address(), binary=binary) as registry:
        yield Target(registry.address)


@pytest.fixture(scope="module")
def filled(target: Target) -> Target:
    """Images of every sort in the repository `src`."""
    amd64 = target.image(
        "src", "amd64", {"os": "linux", "architecture": "amd64"}, config={"Env": ["A=<b>"], "Labels": {"z": "1", "a": "2"}}
    )
    arm64 = target.image("src", "arm64", {"os": "linux", "architecture": "arm64", "variant": "v8"})
    arm = target.image("src", "arm", {"os": "linux", "architecture": "arm", "variant": "v7"})
    target.image("src", "docker-amd64", {"os": "linux", "architecture": "amd64"}, kind="docker")
    target.image("src", "docker-s390x", {"os": "linux", "architecture": "s390x"}, kind="docker")
    target.image("src", "windows", {"os": "windows", "architecture": "amd64", "os.version": "10.0.20348.1"})
    entries = [{**amd64, "platform": {"os": "linux", "architecture": "amd64"}}, target.attestation("src", amd64["digest"])]
    target.index("src", "attested", entries)
    more = [{**arm64, "platform": {"os": "linux", "architecture": "arm64"}, "annotations": {"own": "1"}, "x": 1}]
    more.append(target.attestation("src", arm64["digest"]))
    target.index("src", "two", [*entries[:1], *more, entries[1]])
    target.index(
        "src", "annotated", [{**arm, "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}, "annotations": {"k": "v"}}]
    )
    return target


@dataclass(frozen=True)
class Runner:
    """Both programs, with a home of their own."""

    home: Path
    buildx: Path

    def run(self, *command: str | Path, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        env = {**kept, "HOME": str(self.home), "DOCKER_CONFIG": str(self.home), "BUILDX_CONFIG": str(self.home / "buildx")}
        return subprocess.run([str(word) for word in command], env=env, capture_output=True, check=check, timeout=60)

    def theirs(self, *args: str | Path) -> bytes:
        return self.run(self.buildx, "imagetools", *args).stdout

    def ours(self, *args: str | Path) -> bytes:
        return self.run(Path(sys.executable).with_name("kubectl-buildkit"), "imagetools", *args).stdout


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(home=tmp_path, buildx=tools.ensure(["buildx"])["buildx"])


CREATE = [
    ["amd64", "arm64"],
    ["amd64"],
    ["amd64", "--prefer-index=false"],
    ["docker-amd64", "docker-s390x"],
    ["docker-amd64"],
    ["docker-amd64", "arm64"],
    ["attested"],
    ["two", "amd64", "arm"],
    ["two", "--platform=linux/arm64"],
    ["two", "--platform=linux/arm64,linux/amd64"],
    ["attested", "arm", "--platform=linux/arm/v7"],
    ["annotated", "two", "annotated"],
    ["annotated", "--annotation=index:a<b=c", "--annotation=index:0=z"],
    ["two", "--annotation=manifest-descriptor[linux/arm64]:d=1", "--annotation=manifest-descriptor:e=2"],
    ["windows", "amd64"],
    ["docker-amd64", "docker-s390x", "--annotation=index:a=b"],
]


@pytest.mark.parametrize("arguments", CREATE, ids=" ".join)
def test_create_prints_the_bytes_that_buildx_prints(filled: Target, runner: Runner, arguments: list[str]) -> None:
    words = [word if word.startswith("--") else f"{filled.address}/src:{word}" for word in arguments]
    expected = runner.theirs("create", "--dry-run", *words)

    assert json.loads(expected)["schemaVersion"] == 2
    assert runner.ours("create", "--dry-run", *words) == expected


@pytest.mark.parametrize("arguments", [CREATE[i] for i in (0, 2, 4, 6, 8)], ids=" ".join)
def test_create_copies_to_another_repository_what_buildx_would_write(filled: Target, runner: Runner, arguments: list[str]) -> None:
    words = [word if word.startswith("--") else f"{filled.address}/src:{word}" for word in arguments]
    name = hashlib.sha256(" ".join(arguments).encode()).hexdigest()[:12]
    files = runner.home / "theirs.json", runner.home / "ours.json"
    runner.theirs("create", *words, "-t", f"{filled.address}/theirs-{name}:1", "--metadata-file", files[0])

    runner.ours(
        "create", *words, "-t", f"{filled.address}/ours-{name}:1", "-t", f"{filled.address}/ours-{name}:2", "--metadata-file", files[1]
    )

    assert filled.read(f"ours-{name}", "1") == filled.read(f"theirs-{name}", "1") == filled.read(f"ours-{name}", "2")
    filled.complete(f"ours-{name}", "1")
    assert files[1].read_text() == files[0].read_text().replace("theirs-", "ours-")


def test_create_streams_blobs_to_another_registry(filled: Target, other: Target, runner: Runner) -> None:
    runner.ours("create", "-t", f"{other.address}/copied:1", f"{filled.address}/src:two")

    assert other.read("copied", "1") == filled.read("src", "two")
    other.complete("copied", "1")


def test_create_appends_to_the_first_tag(filled: Target, runner: Runner) -> None:
    name = f"{filled.address}/appended:1"
    runner.ours("create", "-t", name, f"{filled.address}/src:amd64")
    expected = runner.theirs("create", "--append", "--dry-run", "-t", name, f"{filled.address}/src:arm")

    runner.ours("create", "--append", "-t", name, f"{filled.address}/src:arm")

    assert filled.read("appended", "1") + b"\n" == expected
    assert len(json.loads(expected)["manifests"]) == 2


def test_create_takes_digests_and_descriptors_from_files(filled: Target, runner: Runner) -> None:
    digest = "sha256:" + hashlib.sha256(filled.read("src", "arm64")).hexdigest()
    described = runner.home / "described.json"
    described.write_text(json.dumps({"digest": digest, "annotations": {"from": "file"}}))
    expected = runner.theirs("create", "--dry-run", "-f", described, f"{filled.address}/src:amd64")

    assert runner.ours("create", "--dry-run", "-f", described, f"{filled.address}/src:amd64") == expected
    assert runner.ours("create", "--dry-run", "-t", f"{filled.address}/src:new", digest) == runner.theirs(
        "create", "--dry-run", "-t", f"{filled.address}/src:new", digest
    )


TEMPLATES = [
    "",
    "{{.Manifest}}",
    "{{json .}}",
    "{{json .Manifest}}",
    "{{json .Image}}",
    "{{json .Provenance}}",
    "{{json .SBOM}}",
    "{{.Name}} is {{.Manifest.Digest}}",
]


@pytest.mark.parametrize(
    ("tag", "template"),
    [
        *((tag, template) for tag in ("amd64", "two") for template in TEMPLATES),
        *((tag, template) for tag in ("docker-amd64", "annotated", "windows") for template in ("", "{{json .}}")),
    ],
)
def test_inspect_prints_what_buildx_prints(filled: Target, runner: Runner, tag: str, template: str) -> None:
    words = ["inspect", f"{filled.address}/src:{tag}", *(["--format", template] if template else [])]

    assert settled(runner.ours(*words)) == settled(runner.theirs(*words))


def settled(output: bytes) -> list[str]:
    """The lines, with the annotations of a manifest in order: buildx prints them as they come out of a map."""
    lines = output.decode().split("\n")
    blocks = itertools.groupby(lines, lambda line: bool(re.match(r"    \w.*:  ? *\S+$", line)))
    return [line for annotations, block in blocks for line in (sorted(block) if annotations else block)]


@pytest.mark.parametrize(
    ("tag", "template"),
    [
        ("amd64", "{{.Image.OS}}/{{.Image.Architecture}} {{.Image.Config.Env}}"),
        ("amd64", '{{index .Image.Config.Labels "z"}}{{len .Image.Config.Env}}'),
        ("two", '{{json (index .Image "linux/arm64")}}'),
        ("two", '{{(index .Image "linux/arm64").Architecture}} {{ json (index .SBOM "linux/amd64").SPDX.packages }}'),
        ("two", "{{range .Manifest.Manifests}}{{.Digest}}{{end}}"),
    ],
)
def test_inspect_template_of_fields_is_as_in_go_and_a_program_is_refused(filled: Target, runner: Runner, tag: str, template: str) -> None:
    words = ["inspect", f"{filled.address}/src:{tag}", "--format", template]
    if "range" not in template:
        assert runner.ours(*words) == runner.theirs(*words)
        return
    refused = runner.run(Path(sys.executable).with_name("kubectl-buildkit"), "imagetools", *words, check=False)

    assert refused.returncode == 2
    assert b'"range" is not supported' in refused.stderr
    assert b"-o json" in refused.stderr


@pytest.mark.parametrize("tag", ["amd64", "two"])
def test_inspect_raw_prints_the_very_bytes(filled: Target, runner: Runner, tag: str) -> None:
    assert runner.ours("inspect", "--raw", f"{filled.address}/src:{tag}") == filled.read("src", tag)


def test_inspect_as_json_has_all_there_is(filled: Target, runner: Runner) -> None:
    found = json.loads(runner.ours("inspect", "-o", "json", f"{filled.address}/src:two"))

    assert list(found) == ["name", "manifest", "image", "provenance", "sbom"]
    assert set(found["image"]) == {"linux/amd64", "linux/arm64"}
    assert found["provenance"]["linux/arm64"]["SLSA"] == SLSA
    assert found["sbom"]["linux/amd64"]["SPDX"] == SPDX


def test_inspect_of_what_is_not_there_is_a_registry_error(filled: Target, runner: Runner) -> None:
    refused = runner.run(
        Path(sys.executable).with_name("kubectl-buildkit"), "imagetools", "inspect", f"{filled.address}/src:none", check=False
    )

    assert refused.returncode == 6
    assert f'registry "{filled.address}" does not find'.encode() in refused.stderr
