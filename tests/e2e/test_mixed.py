"""Steps that run, on a cluster with nodes of both architectures: each platform is built natively on its own node."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.kubectl import BuildLog, Namespace, Result, plan_lines, pod_object
from tests.e2e.registry import Registry

DOCKERFILE = """\
FROM busybox
RUN uname -m >/machine
ARG TARGETPLATFORM BUILDPLATFORM
RUN echo "$TARGETPLATFORM on $BUILDPLATFORM" >/platforms
CMD ["cat", "/machine"]
"""
MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}


@pytest.fixture(scope="module")
def built(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Result, dict[str, object]]:
    """The repository, the build's words, and its metadata file."""
    context = tmp_path_factory.mktemp("mixed")
    (context / "Dockerfile").write_text(DOCKERFILE)
    metadata = tmp_path_factory.mktemp("out") / "metadata.json"
    repository = namespace.repository("mixed")
    base = f"{namespace.cluster.registry}/{repository}"
    result = namespace.kubectl(
        *("build", context, "-t", f"{base}:one", "-t", f"{base}:two", "--platform=linux/amd64,linux/arm64", "--push"),
        *("--registry-secret=my-secret", "--metadata-file", metadata, "--progress=plain"),
    ).ok()
    return repository, result, json.loads(metadata.read_text())


Built = tuple[str, Result, dict[str, object]]


def test_mixed_plan_names_both_pools_as_native(built: Built) -> None:
    assert plan_lines(built[1].stderr) == {"linux/amd64": ("native", "amd64"), "linux/arm64": ("native", "arm64")}


def test_mixed_index_has_both_platforms_and_each_ran_on_its_machine(built: Built, registry: Registry) -> None:
    images = registry.images(built[0], "one")
    assert list(images) == ["linux/amd64", "linux/arm64"]
    assert {name: image.files["machine"].decode().strip() for name, image in images.items()} == MACHINES
    # BUILDPLATFORM is that of the daemon that ran the step: nothing was emulated and nothing crossed.
    assert {image.files["platforms"].decode().strip() for image in images.values()} == {f"{p} on {p}" for p in MACHINES}


def test_mixed_each_pools_history_has_only_its_own_platform(built: Built, namespace: Namespace) -> None:
    for arch in ("amd64", "arm64"):
        pod = f"buildkit-{arch}-0"
        records = namespace.history(pod)
        assert [record["FrontendAttrs"].get("platform") for record in records] == [f"linux/{arch}"], records
        node = namespace.kubectl("get", "pod", pod, "-o", "jsonpath={.spec.nodeName}").ok().stdout
        assert node == f"{arch}-0"


def test_mixed_two_tags_are_the_same_index_and_nothing_else_is_tagged(built: Built, registry: Registry) -> None:
    assert registry.tags(built[0]) == ["one", "two"]
    assert registry.manifest(built[0], "one").digest == registry.manifest(built[0], "two").digest


def test_mixed_metadata_file_says_digest_names_and_places(built: Built, namespace: Namespace, registry: Registry) -> None:
    repository, _, metadata = built
    base = f"{namespace.cluster.registry}/{repository}"
    assert metadata["containerimage.digest"] == registry.manifest(repository, "one").digest
    assert metadata["image.name"] == f"{base}:one,{base}:two"
    assert metadata["kubectl-build.platforms"] == {
        f"linux/{arch}": {"mode": "native", "pool": arch, "node": f"{arch}-0", "pod": f"buildkit-{arch}-0"} for arch in ("amd64", "arm64")
    }


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_mixed_pod_from_the_tag_runs_its_own_architecture(built: Built, namespace: Namespace, arch: str) -> None:
    image = f"{namespace.cluster.registry}/{built[0]}:one"
    name = f"uname-{arch}"
    namespace.kubectl.apply(pod_object(name, image, ["uname", "-m"], arch=arch, secrets=["my-secret"]))
    assert namespace.pod_runs(name).strip() == MACHINES[f"linux/{arch}"]
    assert namespace.kubectl("get", "pod", name, "-o", "jsonpath={.spec.nodeName}").stdout == f"{arch}-0"


def test_mixed_second_build_of_the_same_is_all_cached(built: Built, namespace: Namespace, registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    name = f"{namespace.cluster.registry}/{built[0]}:again"
    platforms = "--platform=linux/amd64,linux/arm64"
    result = namespace.kubectl("build", tmp_path, "-t", name, platforms, "--push", "--registry-secret=my-secret", "--progress=rawjson").ok()
    assert BuildLog.of(result).uncached() == []
    assert registry.manifest(built[0], "again").digest == registry.manifest(built[0], "one").digest


def test_mixed_failure_on_one_platform_leaves_no_tag(namespace: Namespace, registry: Registry, context: Callable[..., Path]) -> None:
    dockerfile = "FROM busybox\nRUN test $(uname -m) = x86_64 || { echo not here; exit 3; }\n"
    repository = namespace.repository("half")
    name = f"{namespace.cluster.registry}/{repository}:v1"
    platforms = "--platform=linux/amd64,linux/arm64"
    result = namespace.kubectl("build", context({"Dockerfile": dockerfile}), "-t", name, platforms, "--push", "--registry-secret=my-secret")
    result.failed(1, "not here", "arm64")
    assert registry.tags(repository) == []
