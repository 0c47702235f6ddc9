"""The product's first promise: one command cross-compiles a program for six platforms and pushes one index, with a registry secret."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.kubectl import Namespace, Result, plan_lines
from tests.e2e.machines import Machine, machine, run_program
from tests.e2e.registry import Image, Registry

PLATFORMS = ("linux/386", "linux/amd64", "linux/arm/v6", "linux/arm/v7", "linux/arm64", "windows/amd64")
MACHINES = {
    "linux/386": Machine("ELF", "386", 32),
    "linux/amd64": Machine("ELF", "amd64", 64),
    "linux/arm/v6": Machine("ELF", "arm", 32),
    "linux/arm/v7": Machine("ELF", "arm", 32),
    "linux/arm64": Machine("ELF", "arm64", 64),
    "windows/amd64": Machine("PE", "amd64", 64),
}
# The oldest processor that each variant of 32-bit arm promises to run on.
CPUS = {"linux/arm/v6": "arm1176", "linux/arm/v7": "cortex-a8"}

pytestmark = pytest.mark.timeout(420)  # the compiler builds Go's standard library six times


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    repository: str
    result: Result
    stateful_sets: set[str]
    images: dict[str, Image]


@pytest.fixture(scope="module")
def built(namespace: Namespace, checkout: Path, registry: Registry) -> Built:
    repository = namespace.repository("cross")
    command = (
        f"build ./ -t {namespace.cluster.registry}/{repository}:v1 -f Dockerfile.cross --registry-secret my-secret "
        "--platform=linux/386,linux/amd64,linux/arm/v6,linux/arm/v7,linux/arm64,windows/amd64 --push"
    )
    result = namespace.kubectl(*command.split(" "), cwd=checkout, timeout=400).ok()
    return Built(repository=repository, result=result, stateful_sets=namespace.stateful_sets(), images=registry.images(repository, "v1"))


def program(image: Image) -> bytes:
    """The file that the image's entry point names."""
    (entry,) = image.config["config"]["Entrypoint"]
    path = entry.replace("\\", "/").strip("/")
    return image.files[f"Files/{path}" if image.platform.startswith("windows/") else path]


def test_cross_six_platforms_make_an_index_of_exactly_these(built: Built) -> None:
    assert tuple(built.images) == PLATFORMS


@pytest.mark.parametrize("platform", PLATFORMS)
def test_cross_each_image_holds_a_program_for_its_machine(built: Built, platform: str) -> None:
    image = built.images[platform]
    assert image.platform == platform
    assert machine(program(image)) == MACHINES[platform]


@pytest.mark.parametrize("platform", [p for p in PLATFORMS if p.startswith("linux/")])
def test_cross_each_linux_program_runs_and_prints_its_platform(built: Built, platform: str, tmp_path: Path) -> None:
    printed = run_program(program(built.images[platform]), tmp_path, cpu=CPUS.get(platform, ""))
    assert printed == f"Hello from {platform}!\n"


def test_cross_only_the_amd64_pool_is_used_though_an_arm64_node_is_there(built: Built, namespace: Namespace) -> None:
    nodes = namespace.kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.labels.kubernetes\\.io/arch}").ok().stdout.split()
    assert sorted(nodes) == ["amd64", "arm64"]
    assert built.stateful_sets == {"buildkit-amd64"}


def test_cross_plan_says_no_emulator_and_every_run_step_is_of_amd64(built: Built, namespace: Namespace) -> None:
    plan = plan_lines(built.result.stderr)
    assert set(plan) == set(PLATFORMS)
    assert {pool for _, pool in plan.values()} == {"amd64"}
    assert "QEMU" not in {mode for mode, _ in plan.values()}
    runs = [line for line in built.result.stderr.splitlines() if "] RUN " in line]
    assert runs
    assert all("[linux/amd64 " in line or "[linux/amd64->" in line for line in runs), runs


def test_cross_the_result_is_told_by_name_and_digest(built: Built, namespace: Namespace, registry: Registry) -> None:
    assert built.result.stdout == ""
    digest = registry.manifest(built.repository, "v1").digest
    assert f"{namespace.cluster.registry}/{built.repository}:v1@{digest}" in built.result.stderr.splitlines()[-1]
