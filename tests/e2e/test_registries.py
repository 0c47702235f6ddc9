"""Registries of other kinds: without TLS, and one that only pods reach."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster import tools
from tests.e2e.kubectl import Namespace, pod_object
from tests.e2e.registry import Registry

DOCKERFILE = "FROM busybox\nRUN uname -m >/machine\n"
MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
INSECURE = "--output=type=registry,registry.insecure=true"


def test_registry_without_tls_takes_an_image_of_one_pool(
    namespace: Namespace, context: Callable[..., Path], insecure_registry: Registry
) -> None:
    repository = namespace.repository()
    directory = context({"Dockerfile": DOCKERFILE})

    namespace.kubectl("build", directory, "-t", f"{namespace.cluster.insecure_registry}/{repository}:1", INSECURE).ok()

    assert insecure_registry.image(repository, "1").files["machine"] == b"x86_64\n"


def test_registry_without_tls_takes_the_index_of_two_pools(
    namespace: Namespace, context: Callable[..., Path], insecure_registry: Registry
) -> None:
    repository = namespace.repository()
    directory = context({"Dockerfile": DOCKERFILE})
    name = f"{namespace.cluster.insecure_registry}/{repository}:1"

    namespace.kubectl("build", directory, "-t", name, INSECURE, "--platform=linux/amd64,linux/arm64").ok()

    images = insecure_registry.images(repository, "1")
    assert {platform: image.files["machine"].decode().strip() for platform, image in images.items()} == MACHINES


@pytest.mark.parametrize("platforms", ["linux/amd64", "linux/amd64,linux/arm64"])
def test_registry_without_tls_is_refused_without_the_attribute_which_is_named(
    namespace: Namespace, context: Callable[..., Path], insecure_registry: Registry, platforms: str
) -> None:
    repository = namespace.repository()
    directory = context({"Dockerfile": DOCKERFILE})
    name = f"{namespace.cluster.insecure_registry}/{repository}:1"

    result = namespace.kubectl("build", directory, "-t", name, "--push", f"--platform={platforms}", "--progress=plain")

    result.failed(6, namespace.cluster.insecure_registry, "registry.insecure=true")
    assert insecure_registry.tags(repository) == []


def test_registry_that_only_pods_reach_takes_the_index_of_two_pools(namespace: Namespace, context: Callable[..., Path]) -> None:
    """The registry runs in a pod behind a Service whose name only the cluster's DNS knows."""
    host = _run_registry(namespace, context)
    with pytest.raises(OSError, match=r"not known|resolution|No address"):
        socket.getaddrinfo(host.partition(":")[0], None)
    repository = namespace.repository()
    directory = context({"Dockerfile": DOCKERFILE})

    result = namespace.kubectl(
        "build", directory, "-t", f"{host}/{repository}:1", INSECURE, "--platform=linux/amd64,linux/arm64", "--progress=plain"
    ).ok()

    pushed = re.search(r"^pushed .*@(sha256:[0-9a-f]{64})$", result.stderr, re.MULTILINE)
    assert pushed
    asked = f"wget -qO- --header 'Accept: application/vnd.oci.image.index.v1+json' http://{host}/v2/{repository}/manifests/1 | sha256sum"
    seen = namespace.kubectl("exec", "buildkit-amd64-0", "-c", "buildkitd", "--", "sh", "-c", asked).ok().stdout.split()[0]
    assert f"sha256:{seen}" == pushed.group(1)


def _run_registry(namespace: Namespace, context: Callable[..., Path]) -> str:
    """Build an image of docker-registry with the product, run it in a pod behind a Service, and return the Service's name and port."""
    binary = tools.ensure(["docker-registry"])["docker-registry"]
    directory = context({"Dockerfile": "FROM busybox\nCOPY root /\n", "root/config.yml": _CONFIG}, "registry")
    shutil.copy2(binary, directory / "root" / "docker-registry")
    listed = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, timeout=10, check=False).stdout
    for library in re.findall(r"(/\S+) \(0x", listed):
        target = directory / "root" / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(library, target)
    image = f"{namespace.cluster.registry}/{namespace.repository('registry')}:1"
    namespace.kubectl("build", directory, "-t", image, "--registry-secret=my-secret", "--push", timeout=150).ok()
    pod = pod_object("inner-registry", image, ["/docker-registry", "serve", "/config.yml"], arch="amd64", secrets=["my-secret"])
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "inner-registry"},
        "spec": {"selector": {"app": "inner-registry"}, "ports": [{"port": 5000}]},
    }
    namespace.kubectl.apply(pod, service)
    namespace.kubectl("wait", "pod/inner-registry", "--for=condition=Ready", "--timeout=40s", timeout=50).ok()
    return f"inner-registry.{namespace.name}.svc.cluster.local:5000"


_CONFIG = """\
version: 0.1
storage:
  filesystem:
    rootdirectory: /data
http:
  addr: :5000
"""
