"""The verbs on builders, kubectl's view of the plugin, and --plan."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import layout
from tests.e2e.kubectl import MANAGED, Namespace
from tests.e2e.registry import Registry

RUNS = "FROM busybox\nRUN true\n"
BOTH = "--platform=linux/amd64,linux/arm64"


@pytest.fixture(scope="module")
def builder(namespace: Namespace) -> Namespace:
    """A namespace with the builder `team`, fixed to amd64 and running."""
    said = namespace.kubectl("buildkit", "create", "team", "--platform=linux/amd64,linux/386", "--bootstrap").ok()
    assert said.stdout == 'builder "team" created\n'
    return namespace


@pytest.fixture
def empty(make_namespace: Callable[[str], Namespace], request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """A namespace for one test."""
    made = make_namespace(request.node.name.removeprefix("test_").replace("_", "-")[:30])
    yield made
    made.kubectl("delete", "namespace", made.name, "--wait=false").ok()


def test_plugins_are_listed_without_a_warning(namespace: Namespace) -> None:
    """Those of this installation: a machine may have another one, which kubectl then calls overshadowed."""
    places = os.pathsep.join(str(Path(program).parent) for name in ("kubectl-build", "kubectl") if (program := shutil.which(name)))
    listed = namespace.kubectl.with_env(PATH=places)("plugin", "list").ok()
    assert {Path(line).name for line in listed.stdout.splitlines()} >= {"kubectl-build", "kubectl-buildkit"}
    assert "warning" not in (listed.stdout + listed.stderr).lower()


@pytest.mark.parametrize("command", ["build", "buildkit build", "buildkit create", "buildkit rm"])
def test_help_is_printed_on_stdout(namespace: Namespace, command: str) -> None:
    result = namespace.kubectl(*command.split(), "--help").ok()
    assert f"kubectl {command}" in result.stdout
    assert "--namespace" in result.stdout
    assert result.stderr == ""


def test_create_again_is_idempotent(builder: Namespace) -> None:
    before = _versions(builder)
    said = builder.kubectl("buildkit", "create", "team", "--platform=linux/amd64,linux/386").ok()
    assert said.stdout == 'builder "team" unchanged\n'
    assert _versions(builder) == before


def test_create_labels_every_object_of_the_builder(builder: Namespace) -> None:
    selector = f"{MANAGED},app.kubernetes.io/name=buildkit,app.kubernetes.io/instance=team"
    labelled = builder.kubectl("get", "configmaps,statefulsets,pods", "-l", selector, "-o", "name").ok().stdout.split()
    assert {"statefulset.apps/team-amd64", "pod/team-amd64-0"} <= set(labelled)
    assert any(name.startswith("configmap/") for name in labelled)


def test_ls_shows_the_builder_with_its_platforms_node_and_version(builder: Namespace) -> None:
    header, row = builder.kubectl("buildkit", "ls").ok().stdout.splitlines()
    assert header.split() == ["NAME", "POOLS", "NODES", "STATUS", "PLATFORMS", "VERSION", "AGE"]
    assert row.split()[0] == "team"
    assert "amd64(1/1)" in row
    assert "amd64-0" in row
    assert "linux/amd64" in row
    assert layout.BUILDKIT_VERSION in row


def test_ls_writes_names_json_yaml_and_all_namespaces(builder: Namespace) -> None:
    kubectl = builder.kubectl
    assert kubectl("buildkit", "ls", "-o", "name").ok().stdout.split() == ["team"]
    (told,) = kubectl("buildkit", "ls", "-o", "json").json()["builders"]
    assert told["name"] == "team"
    assert told["fixedPlatforms"] == ["linux/amd64", "linux/386"]
    assert told["pools"][0]["pods"][0]["version"] == layout.BUILDKIT_VERSION
    assert "name: team" in kubectl("buildkit", "ls", "-o", "yaml").ok().stdout
    everywhere = kubectl("buildkit", "ls", "-A").ok().stdout.splitlines()
    assert [builder.name, "team"] in [line.split()[:2] for line in everywhere]
    assert "SECURITY" in kubectl("buildkit", "ls", "-o", "wide").ok().stdout


def test_inspect_has_the_daemons_real_platforms(builder: Namespace) -> None:
    said = builder.kubectl("exec", "team-amd64-0", "-c", "buildkitd", "--", "buildctl", "debug", "workers", "--format={{json .}}").ok()
    workers = json.loads(said.stdout)
    real = {"/".join(p[k] for k in ("os", "architecture", "variant") if p.get(k)) for p in workers[0]["platforms"]}
    told = builder.kubectl("buildkit", "inspect", "team", "-o", "json").json()
    assert set(told["pools"][0]["pods"][0]["platforms"]) == real
    text = builder.kubectl("buildkit", "inspect", "team").ok().stdout
    assert all(platform in text for platform in real)


def test_inspect_of_an_unknown_builder_is_an_error(builder: Namespace) -> None:
    builder.kubectl("buildkit", "inspect", "nobody").failed(4, '"nobody"', "kubectl buildkit ls")


def test_version_tells_the_client_and_each_daemon(builder: Namespace) -> None:
    lines = builder.kubectl("buildkit", "version", "--builder=team").ok().stdout.splitlines()
    assert lines[0].startswith("Client: ")
    assert lines[1:] == [f"Builder: team-amd64-0: buildkitd {layout.BUILDKIT_VERSION}"]
    assert builder.kubectl("buildkit", "version", "--builder=nobody").ok().stdout.startswith("Client: ")


def test_rm_of_an_unknown_name_is_an_error_unless_ignored(builder: Namespace) -> None:
    before = builder.objects()
    builder.kubectl("buildkit", "rm", "nobody").failed(4, '"nobody"')
    assert builder.kubectl("buildkit", "rm", "nobody", "--ignore-not-found").ok().stdout == ""
    assert builder.objects() == before


def test_rm_removes_all_of_one_builder_and_nothing_else(empty: Namespace) -> None:
    kubectl = empty.kubectl
    for name in ("one", "two"):
        kubectl("buildkit", "create", name, "--platform=linux/amd64", "--bootstrap").ok()
    kubectl("create", "configmap", "one-amd64", "--from-literal=mine=yes").ok()
    kubectl("create", "secret", "generic", "one", "--from-literal=mine=yes").ok()

    assert kubectl("buildkit", "rm", "one").ok().stdout == 'builder "one" removed\n'

    left = kubectl("get", "configmaps,secrets,statefulsets,pods", "-l", f"{MANAGED},app.kubernetes.io/instance=one", "-o", "name")
    assert left.ok().stdout == ""
    kubectl("get", "configmap/one-amd64", "secret/one").ok()
    assert kubectl("buildkit", "ls", "-o", "name").ok().stdout == "two\n"
    kubectl("wait", "pod/two-amd64-0", "--for=condition=Ready", "--timeout=1s").ok()


def test_create_dry_run_can_be_applied_and_is_then_used(empty: Namespace, context: Callable[..., Path]) -> None:
    kubectl = empty.kubectl
    flags = "team", "--platform=linux/amd64", "--dry-run=client", "-o", "yaml"
    rendered = kubectl("buildkit", "create", *flags).ok().stdout
    assert empty.objects() == set()

    applied = kubectl("apply", "-f", "-", stdin=rendered).ok()
    assert "Warning" not in applied.stderr

    build = kubectl("build", context({"Dockerfile": RUNS}), "--builder=team", "--progress=plain").ok()
    assert "creating builder" not in build.stderr
    assert empty.stateful_sets() == {"team-amd64"}
    assert kubectl("buildkit", "create", "team", "--platform=linux/amd64").ok().stdout.startswith('builder "team"')


def test_create_fixed_platform_without_a_node_is_an_error(empty: Namespace) -> None:
    empty.kubectl("buildkit", "create", "team", "--platform=linux/s390x", "--bootstrap").failed(2, "s390x", "--platform")
    assert empty.objects() == set()


def test_plan_makes_no_builder_and_says_what_the_nodes_decide(empty: Namespace, context: Callable[..., Path]) -> None:
    tree = context({"Dockerfile": RUNS})
    table = empty.kubectl("build", tree, BOTH, "--plan").ok()
    rows = [line.split()[:3] for line in table.stdout.splitlines()]
    assert rows == [["PLATFORM", "MODE", "POOL"], ["linux/amd64", "native", "amd64"], ["linux/arm64", "native", "arm64"]]
    told = empty.kubectl("build", tree, BOTH, "--plan=json").json()
    assert told["certain"] is False
    assert _places(told) == {"linux/amd64": ("native", "amd64"), "linux/arm64": ("native", "arm64")}
    assert empty.objects() == set()


def test_plan_with_a_builder_is_decided_by_the_dockerfiles_steps(builder: Namespace, context: Callable[..., Path]) -> None:
    crossed = "FROM --platform=$BUILDPLATFORM busybox AS b\nRUN true\nFROM scratch\nCOPY --from=b /bin/sh /\n"
    flags = BOTH, "--builder=team", "--plan=json"
    told = builder.kubectl("build", context({"Dockerfile": crossed}), *flags).json()
    assert told["certain"] is True
    assert _places(told) == {"linux/amd64": ("native", "amd64"), "linux/arm64": ("cross", "amd64")}
    told = builder.kubectl("build", context({"Dockerfile": RUNS}, "runs"), *flags).json()
    assert _places(told) == {"linux/amd64": ("native", "amd64"), "linux/arm64": ("QEMU", "amd64")}


def test_secret_named_like_the_builder_is_used_without_a_flag(builder: Namespace, registry: Registry, context: Callable[..., Path]) -> None:
    builder.secret("team")
    repository = builder.repository("named")
    name = f"{builder.cluster.registry}/{repository}:v1"
    builder.kubectl("build", context({"Dockerfile": RUNS}), "--builder=team", "-t", name, "--push").ok()
    assert registry.tags(repository) == ["v1"]


def test_docker_config_is_used_where_there_is_no_secret(
    builder: Namespace, registry: Registry, context: Callable[..., Path], tmp_path: Path
) -> None:
    cluster = builder.cluster
    (tmp_path / "docker").mkdir()
    auths = {cluster.registry: {"username": cluster.user, "password": cluster.password}}
    (tmp_path / "docker" / "config.json").write_text(json.dumps({"auths": auths}))
    builder.kubectl("buildkit", "create", "plain", "--platform=linux/amd64").ok()
    repository = builder.repository("docker")
    name = f"{cluster.registry}/{repository}:v1"
    kubectl = builder.kubectl.with_env(DOCKER_CONFIG=str(tmp_path / "docker"))
    kubectl("build", context({"Dockerfile": RUNS}), "--builder=plain", "-t", name, "--push").ok()
    assert registry.tags(repository) == ["v1"]


def _places(plan: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {place["platform"]: (place["mode"], place["pool"]) for place in plan["platforms"]}


def _versions(namespace: Namespace) -> dict[str, tuple[str, int]]:
    """The uid and generation of each object of a builder: what changes when it is written."""
    found = namespace.kubectl("get", "configmaps,statefulsets,pods", "-l", MANAGED, "-o", "json").json()
    return {o["metadata"]["name"]: (o["metadata"]["uid"], o["metadata"].get("generation", 0)) for o in found["items"]}
