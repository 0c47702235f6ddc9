"""A builder fixed to amd64: what runs for arm64 runs under QEMU, and says so, or is refused where the user forbids it."""

from __future__ import annotations

import pytest

from tests.e2e.kubectl import Namespace, plan_lines
from tests.e2e.registry import Registry

DOCKERFILE = "FROM busybox\nCOPY big /big\nRUN uname -m >/machine\n"
BOTH = "--platform=linux/amd64,linux/arm64"


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("qemu")
    (directory / "Dockerfile").write_text(DOCKERFILE)
    (directory / "big").write_bytes(bytes(1 << 20))
    return str(directory)


@pytest.fixture(scope="module", autouse=True)
def _builder(namespace: Namespace) -> None:
    namespace.kubectl("buildkit", "create", "q", "--platform", "linux/amd64").ok()


def test_qemu_forbidden_is_refused_before_the_context_is_sent(namespace: Namespace, context: str) -> None:
    result = namespace.kubectl("build", context, "--builder=q", BOTH, "--emulation=never", "--progress=plain")
    result.failed(2, "linux/arm64", "emulation")
    assert "load build context" not in result.stderr


def test_qemu_fixed_builder_emulates_the_other_platform_and_says_so(namespace: Namespace, context: str, registry: Registry) -> None:
    repository = namespace.repository("qemu")
    name = f"{namespace.cluster.registry}/{repository}:v1"
    result = namespace.kubectl(
        "build", context, "--builder=q", BOTH, "-t", name, "--push", "--registry-secret=my-secret", "--progress=plain"
    ).ok()
    assert plan_lines(result.stderr) == {"linux/amd64": ("native", "amd64"), "linux/arm64": ("QEMU", "amd64")}
    images = registry.images(repository, "v1")
    machines = {name: image.files["machine"].decode().strip() for name, image in images.items()}
    assert machines == {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
    assert namespace.stateful_sets() == {"q-amd64"}


def test_qemu_platform_without_an_emulator_is_refused_before_the_build(namespace: Namespace, context: str) -> None:
    result = namespace.kubectl("build", context, "--builder=q", "--platform=linux/ppc64le", "--progress=plain")
    result.failed(2, "linux/ppc64le", "emulator", "--qemu-install")
    assert "load build context" not in result.stderr


def test_qemu_always_uses_one_pool_though_another_is_native(namespace: Namespace, context: str, registry: Registry) -> None:
    repository = namespace.repository("always")
    name = f"{namespace.cluster.registry}/{repository}:v1"
    flags = "--emulation=always", "--push", "--registry-secret=my-secret"
    result = namespace.kubectl("build", context, "--builder=free", BOTH, "-t", name, *flags).ok()
    assert plan_lines(result.stderr) == {"linux/amd64": ("native", "amd64"), "linux/arm64": ("QEMU", "amd64")}
    assert namespace.stateful_sets() == {"q-amd64", "free-amd64"}
    assert registry.images(repository, "v1")["linux/arm64"].files["machine"] == b"aarch64\n"
