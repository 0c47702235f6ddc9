"""The local cluster for tests: its lock, a namespace for each module, and readers of its registries.

The tests need a cluster that runs (`make cluster`) and never start one. Every wait has a deadline; what a module makes is in its own
namespace, which goes when it ends. With KB_E2E_SECURITY set to a security level, every builder that names none has that one.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster import owner
from tests.e2e import environment
from tests.e2e.environment import ClusterEnv
from tests.e2e.kubectl import Kubectl, Namespace
from tests.e2e.registry import Registry

_TEST_SECONDS = 180
_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test here, and give it the time that builds take."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker("e2e")
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(_TEST_SECONDS))


@pytest.fixture(scope="session")
def cluster() -> Iterator[ClusterEnv]:
    """The running local cluster, which cannot be taken away before the tests end."""
    found = environment.load()
    if found is None:
        pytest.fail("the local cluster is not up: run `make cluster`", pytrace=False)
    with owner.tests_lock(timeout_s=600):
        yield found


@pytest.fixture(scope="session")
def make_namespace(cluster: ClusterEnv, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Namespace]]:
    """Make a fresh namespace of the given name with a random end; all are deleted at the end of the session, without waiting for that."""
    run = uuid.uuid4().hex[:6]
    count = itertools.count()
    admin = Kubectl(variables=cluster.variables)
    made: list[str] = []

    def make(subject: str) -> Namespace:
        name = f"e2e-{subject}-{run}"
        directory = tmp_path_factory.mktemp(name)
        (directory / "docker").mkdir()
        kubeconfig = directory / "kubeconfig"
        shutil.copy(cluster.kubeconfig, kubeconfig)
        kubectl = admin.with_env(KUBECONFIG=str(kubeconfig), DOCKER_CONFIG=str(directory / "docker"))
        kubectl("create", "namespace", name).ok()
        made.append(name)
        kubectl("config", "set-context", "--current", f"--namespace={name}").ok()
        if os.environ.get(environment.SECURITY):
            _set_security(kubectl, os.environ[environment.SECURITY])
        return Namespace(name=name, kubectl=kubectl, cluster=cluster, names=lambda: f"{run}-{next(count)}")

    yield make
    if made:
        admin("delete", "namespace", "--wait=false", "--ignore-not-found", *made).ok()


def _set_security(kubectl: Kubectl, level: str) -> None:
    """Give the namespace the cluster's defaults with a security level."""
    defaults = kubectl("get", "configmap", "kubectl-build-defaults", "-n", "kube-public", "-o", "json").json()
    said = yaml.safe_load(defaults["data"]["builder.yaml"])
    own = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kubectl-build-defaults"}}
    kubectl.apply({**own, "data": {"builder.yaml": json.dumps({**said, "security": level})}})


@pytest.fixture(scope="module")
def namespace(make_namespace: Callable[[str], Namespace], request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """A namespace for the tests of one module, with the secret `my-secret` for the registry."""
    subject = request.module.__name__.rpartition(".")[2].removeprefix("test_").replace("_", "-")
    made = make_namespace(subject)
    made.secret("my-secret")
    yield made
    # Builders of a finished module would only take memory and processor time from the next.
    made.kubectl("delete", "namespace", made.name, "--wait=false").ok()


@pytest.fixture(scope="session")
def registry(cluster: ClusterEnv) -> Registry:
    """The registry with TLS and a password, read without the product."""
    return Registry(url=f"https://{cluster.registry}", user=cluster.user, password=cluster.password, ca=cluster.ca)


@pytest.fixture(scope="session")
def insecure_registry(cluster: ClusterEnv) -> Registry:
    """The registry with plain http."""
    return Registry(url=f"http://{cluster.insecure_registry}")


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what this repository's own example builds from; the tests beside it write into the checkout while they run."""
    root = _HERE.parents[1]
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("Dockerfile.cross", ".dockerignore"):
        shutil.copy2(root / name, copy / name)
    shutil.copytree(root / "examples", copy / "examples")
    return copy


@pytest.fixture
def context(tmp_path: Path) -> Callable[..., Path]:
    """Write a build context from file names and contents, and return its directory."""

    def write(files: dict[str, str | bytes], name: str = "context") -> Path:
        root = tmp_path / name
        for path, content in files.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode() if isinstance(content, str) else content)
        root.mkdir(exist_ok=True)
        return root

    return write
