"""`kubectl buildkit imagetools` with the cluster: its secrets, and a builder's pod as the way to the registries."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.kubectl import Namespace, Result
from tests.e2e.registry import Registry

PLATFORMS = "linux/amd64,linux/arm64"


@pytest.fixture(scope="module")
def built(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The repository of an image for two platforms, under the tag 1; its builder still runs."""
    directory = tmp_path_factory.mktemp("context")
    (directory / "Dockerfile").write_text("FROM busybox\nCOPY Dockerfile /\n")
    repository = namespace.repository()
    name = f"{namespace.cluster.registry}/{repository}:1"
    namespace.kubectl("build", directory, "-t", name, "--push", f"--platform={PLATFORMS}", "--registry-secret=my-secret").ok()
    return repository


@pytest.fixture
def imagetools(namespace: Namespace) -> Callable[..., Result]:
    def run(*args: str | Path) -> Result:
        return namespace.kubectl("buildkit", "imagetools", *args)

    return run


def test_inspect_from_here_uses_the_cluster_for_the_login_alone(
    namespace: Namespace, built: str, imagetools: Callable[..., Result], registry: Registry
) -> None:
    name = f"{namespace.cluster.registry}/{built}:1"
    shown = imagetools("inspect", name, "--registry-secret=my-secret", "--ca", namespace.cluster.ca).ok().stdout

    assert f"Digest:    {registry.manifest(built, '1').digest}\n" in shown
    assert [line.split()[1] for line in shown.splitlines() if "Platform:" in line] == PLATFORMS.split(",")


def test_inspect_from_here_names_the_flag_for_what_is_missing(namespace: Namespace, built: str, imagetools: Callable[..., Result]) -> None:
    name = f"{namespace.cluster.registry}/{built}:1"

    imagetools("inspect", name).failed(6, "is not trusted", "--ca FILE")
    imagetools("inspect", name, "--ca", namespace.cluster.ca).failed(6, "wants a login to pull from", "kubectl create secret")
    imagetools("inspect", f"{namespace.cluster.insecure_registry}/e2e/none:1").failed(6, "answers plain HTTP", "--insecure")
    imagetools("inspect", name, "--ca", "/nowhere").failed(3, '"/nowhere" cannot be read')


def test_inspect_through_a_builder_has_its_trust(namespace: Namespace, built: str, imagetools: Callable[..., Result]) -> None:
    name = f"{namespace.cluster.registry}/{built}:1"
    found = json.loads(imagetools("inspect", name, "-o", "json", "--builder=buildkit", "--registry-secret=my-secret").ok().stdout)

    assert set(found["image"]) == set(PLATFORMS.split(","))
    assert len(found["manifest"]["manifests"]) == 2


def test_inspect_through_a_builder_that_is_not_there_says_so(namespace: Namespace, built: str, imagetools: Callable[..., Result]) -> None:
    imagetools("inspect", "reg.example/app", "--builder=none").failed(4, 'there is no builder "none"')


def test_inspect_through_a_builder_looks_names_up_in_the_pod(namespace: Namespace, built: str, imagetools: Callable[..., Result]) -> None:
    name = f"nowhere.{namespace.name}.svc.cluster.local:5000"

    imagetools("inspect", f"{name}/app", "--builder=buildkit").failed(6, f'registry "{name}" cannot be reached from the builder', "nc:")
    imagetools("inspect", f"{name}/app").failed(6, "is not known here")


def test_create_through_a_builder_mounts_into_another_repository(
    namespace: Namespace, built: str, imagetools: Callable[..., Result], registry: Registry
) -> None:
    host, repository = namespace.cluster.registry, namespace.repository("joined")
    arm = registry.manifest(built, "1").json["manifests"][1]["digest"]
    access = "--builder=buildkit", "--registry-secret=my-secret"

    imagetools("create", f"{host}/{built}:1", "-p", "linux/amd64", "-t", f"{host}/{repository}:1", *access).ok()
    imagetools("create", "--append", f"{host}/{built}@{arm}", "-t", f"{host}/{repository}:1", *access).ok()

    assert list(registry.images(repository, "1")) == PLATFORMS.split(",")
    assert registry.images(repository, "1") == registry.images(built, "1")


def test_create_from_here_streams_to_a_registry_without_tls(
    namespace: Namespace, built: str, imagetools: Callable[..., Result], registry: Registry, insecure_registry: Registry
) -> None:
    source, target = f"{namespace.cluster.registry}/{built}:1", namespace.repository("copied")
    name = f"{namespace.cluster.insecure_registry}/{target}:1"
    result = imagetools("create", source, "-t", name, "--registry-secret=my-secret", "--insecure", "--progress=plain").ok()

    digest = registry.manifest(built, "1").digest
    assert insecure_registry.manifest(target, "1").digest == digest
    assert insecure_registry.images(target, "1") == registry.images(built, "1")
    assert f"pushed {name}@{digest}" in result.stderr
    assert namespace.cluster.password not in result.stderr
