"""Daemons in pods by their address: through the library, --builder and BUILDKIT_HOST."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.kubectl import Namespace
from tests.e2e.registry import Registry

FILES: dict[str, str | bytes] = {
    "Dockerfile": "FROM busybox AS b\nCOPY hello /\nRUN uname -m >/machine\nFROM scratch\nCOPY --from=b /hello /machine /\n",
    "hello": "hello\n",
}

_EXAMPLE = Path(__file__).parents[2] / "examples" / "library.py"


@pytest.fixture(scope="module")
def pod(namespace: Namespace) -> str:
    """A pod with a daemon, which happens to be a builder's."""
    namespace.kubectl("buildkit", "create", "other", "--platform=linux/amd64", "--bootstrap").ok()
    return "other-amd64-0"


def library(namespace: Namespace, address: str, context: Path, dest: Path) -> subprocess.CompletedProcess[str]:
    """Run the library's example as a user of the cluster would."""
    command = [sys.executable, str(_EXAMPLE), address, str(context), str(dest)]
    return subprocess.run(command, env=namespace.kubectl.variables, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.parametrize("options", ["", "?namespace={namespace}&container=buildkitd"])
def test_library_builds_in_a_pod(namespace: Namespace, pod: str, context: Callable[..., Path], tmp_path: Path, options: str) -> None:
    address = f"kube-pod://{pod}{options.format(namespace=namespace.name)}"

    done = library(namespace, address, context(FILES), tmp_path / "out")

    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {"hello": "hello\n", "machine": "x86_64\n"}


def test_library_names_a_pod_that_is_not_there(namespace: Namespace, context: Callable[..., Path], tmp_path: Path) -> None:
    done = library(namespace, "kube-pod://nowhere", context(FILES), tmp_path / "out")

    assert done.returncode == 1
    assert re.fullmatch(r'error: cannot run ".*" in pod "nowhere" of namespace ".*": .* does not exist\n', done.stderr), done.stderr


def test_builder_of_a_pods_address_builds_and_makes_no_builder(
    namespace: Namespace, pod: str, context: Callable[..., Path], tmp_path: Path
) -> None:
    before = namespace.objects()

    namespace.kubectl("build", "--builder", f"kube-pod://{pod}?namespace={namespace.name}", context(FILES), "-o", tmp_path / "out").ok()

    assert (tmp_path / "out" / "machine").read_text() == "x86_64\n"
    assert namespace.objects() == before


def test_buildkit_host_of_a_pods_address_pushes_with_a_clusters_secret(
    namespace: Namespace, pod: str, context: Callable[..., Path], registry: Registry, tmp_path: Path
) -> None:
    repository = namespace.repository()
    kubectl = namespace.kubectl.with_env(BUILDKIT_HOST=f"kube-pod://{pod}")
    name = f"{namespace.cluster.registry}/{repository}:v1"
    options = ["--registry-secret", "my-secret", "--push", "-t", name, "--metadata-file", str(tmp_path / "metadata")]

    kubectl("build", context(FILES), *options).ok()

    metadata = json.loads((tmp_path / "metadata").read_text())
    assert registry.manifest(repository, "v1").digest == metadata["containerimage.digest"]
    assert registry.image(repository, "v1").files["hello"] == b"hello\n"


def test_builder_flag_goes_before_buildkit_host(namespace: Namespace, pod: str, context: Callable[..., Path], tmp_path: Path) -> None:
    kubectl = namespace.kubectl.with_env(BUILDKIT_HOST="tcp://127.0.0.1:1")

    kubectl("build", context(FILES), "--builder=other", "-o", tmp_path / "out").ok()

    assert (tmp_path / "out" / "hello").read_text() == "hello\n"


def test_builder_of_an_address_that_refuses_ends_with_a_sentence(namespace: Namespace, context: Callable[..., Path]) -> None:
    result = namespace.kubectl("build", context(FILES), "--builder", "tcp://127.0.0.1:1")

    result.failed(5, "cannot connect to 127.0.0.1:1: connection refused")


def test_builder_of_a_pod_that_is_not_there_ends_with_a_sentence(namespace: Namespace, context: Callable[..., Path]) -> None:
    namespace.kubectl("build", context(FILES), "--builder", "kube-pod://nowhere").failed(5, 'pod "nowhere"', "does not exist")


def test_builder_of_a_container_that_is_not_there_ends_with_a_sentence(
    namespace: Namespace, pod: str, context: Callable[..., Path]
) -> None:
    namespace.kubectl("build", context(FILES), "--builder", f"kube-pod://{pod}?container=nope").failed(5, f'pod "{pod}"', "nope")


@pytest.mark.parametrize("address", ["docker-container://buildkitd", "ssh://host", "tcp://host", "kube-pod://Upper"])
def test_builder_of_an_address_that_cannot_be_used_is_a_usage_error(
    namespace: Namespace, context: Callable[..., Path], address: str
) -> None:
    namespace.kubectl("build", context(FILES), "--builder", address).failed(2, f'daemon address "{address}"')
