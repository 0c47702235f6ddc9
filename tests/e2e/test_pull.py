"""One tag for everybody: containerd, asked for each platform, gets that platform's manifest and no other."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import layout, tools
from tests.e2e.kubectl import Namespace
from tests.e2e.registry import Registry

PLATFORMS = ("linux/386", "linux/amd64", "linux/arm/v6", "linux/arm/v7", "linux/arm64")


class Ctr:
    """containerd's own client in a containerd namespace of its own."""

    def __init__(self, node: layout.Node, namespace: str) -> None:
        self._command = [str(tools.ensure(["ctr"])["ctr"]), "--address", str(node.containerd_socket), "--namespace", namespace]

    def __call__(self, *args: str) -> str:
        done = subprocess.run([*self._command, *args], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"ctr {args}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def content(self) -> set[str]:
        return set(self("content", "ls", "-q").split())


@pytest.fixture(scope="module")
def pushed(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The repository of an image for five platforms whose builder runs nothing of them."""
    context = tmp_path_factory.mktemp("pull")
    (context / "Dockerfile").write_text("FROM scratch\nARG TARGETPLATFORM\nLABEL platform=$TARGETPLATFORM\nCOPY Dockerfile /\n")
    repository = namespace.repository("pull")
    name = f"{namespace.cluster.registry}/{repository}:v1"
    namespace.kubectl("build", context, "-t", name, f"--platform={','.join(PLATFORMS)}", "--push", "--registry-secret=my-secret").ok()
    return repository


@pytest.fixture(params=layout.NODES, ids=lambda node: node.name)
def ctr(request: pytest.FixtureRequest, namespace: Namespace) -> Iterator[Ctr]:
    client = Ctr(request.param, namespace.name)
    yield client
    for image in client("images", "ls", "-q").split():
        client("images", "rm", "--sync", image)
    client("namespaces", "rm", namespace.name)


def test_pull_by_containerd_gives_each_platform_its_own_manifest(
    pushed: str, namespace: Namespace, registry: Registry, ctr: Ctr, cluster_ca: Path
) -> None:
    images = registry.images(pushed, "v1")
    assert tuple(images) == PLATFORMS
    digests = {platform: image.digest for platform, image in images.items()}
    assert len(set(digests.values())) == len(PLATFORMS)
    name = f"{namespace.cluster.registry}/{pushed}:v1"
    login = f"--user={namespace.cluster.user}:{namespace.cluster.password}"
    for platform, digest in digests.items():
        ctr("images", "pull", "--local", "--skip-metadata", f"--tlscacert={cluster_ca}", login, f"--platform={platform}", name)
        assert ctr.content() & set(digests.values()) == {digest}, platform
        ctr("images", "rm", "--sync", name)


@pytest.fixture
def cluster_ca(namespace: Namespace) -> Path:
    return namespace.cluster.ca
