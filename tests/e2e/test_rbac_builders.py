"""Users with few rights who make, start, change, stop or remove builders: each right taken away in turn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.kubectl import Namespace
from tests.e2e.rights import (
    BUILD,
    CREATE,
    LEASES,
    NOWHERE,
    POLICIES,
    STATEFULSETS,
    WELL,
    note,
    nowhere,
    own_objects,
    printed_roles,
    refusal,
    replicas,
    several,
    slug,
    without,
)
from tests.e2e.users import add_users, as_user, rights

PLAIN = "FROM scratch\nCOPY Dockerfile /\n"

CREATING = {
    "get configmaps": refusal(BUILD),
    "create configmaps": refusal(CREATE),
    "get secrets": refusal(CREATE),
    "create secrets": refusal(CREATE),
    f"list {STATEFULSETS}": refusal(BUILD),
    f"create {STATEFULSETS}": refusal(CREATE),
    "list pods": refusal(BUILD),
    f"get {POLICIES}": note("NetworkPolicy", "you may not write network policies"),
    f"create {POLICIES}": note("NetworkPolicy", "you may not write network policies"),
    "create pods": WELL,
}

CHANGING = {
    "patch configmaps": refusal(CREATE),
    f"patch {STATEFULSETS}": refusal(CREATE),
    f"patch {POLICIES}": note("NetworkPolicy", "you may not write network policies"),
    "patch pods": WELL,
}

REMOVING = {
    f"list {STATEFULSETS}": refusal(BUILD),
    "list configmaps": refusal(BUILD),
    "list pods": refusal(BUILD),
    f"delete {STATEFULSETS}": refusal(CREATE),
    "delete configmaps": refusal(CREATE),
    "delete secrets": refusal(CREATE),
    "list secrets": WELL,
    f"list {POLICIES}": note("NetworkPolicy", "is left", left=frozenset({"NetworkPolicy"})),
    f"delete {POLICIES}": note("NetworkPolicy", "is left", left=frozenset({"NetworkPolicy"})),
    several("delete pods", f"list {LEASES}", f"delete {LEASES}", "list persistentvolumeclaims", "delete persistentvolumeclaims"): WELL,
}
KEEPS = {f"delete {STATEFULSETS}", f"list {STATEFULSETS}", "list configmaps", "list pods"}
"""Without these a builder is not touched at all."""

STOPPING = {f"list {STATEFULSETS}": refusal(BUILD), f"patch {STATEFULSETS}": refusal(CREATE), "list pods": refusal(BUILD)}

STARTING = {
    "create configmaps": refusal(CREATE),
    "create secrets": refusal(CREATE),
    f"create {STATEFULSETS}": refusal(CREATE),
    "get configmaps": note("kubectl-build-defaults"),
    f"list {STATEFULSETS}": note("you may not list statefulsets"),
    several(f"watch {STATEFULSETS}", "watch pods", "list events", "delete pods"): WELL,
}
"""Building where there is no builder."""

COLLECTING = {
    "list pods": refusal(BUILD),
    "get pods/exec": refusal(BUILD),
    f"get {STATEFULSETS}": refusal(BUILD),
    f"patch {STATEFULSETS}": refusal(CREATE),
    "list configmaps": note("you may not list configmaps"),
    f"list {STATEFULSETS}": note("you may not list statefulsets"),
}


@pytest.fixture(scope="module")
def roles(namespace: Namespace) -> dict[str, frozenset[str]]:
    """The rights of each Role, by its name."""
    return printed_roles(namespace)


@pytest.fixture(scope="module")
def makers(namespace: Namespace, roles: dict[str, frozenset[str]]) -> Namespace:
    """The module's namespace with a user for each right that people who make builders may lack."""
    every = {**CREATING, **CHANGING, **REMOVING, **STOPPING, **STARTING}
    add_users(namespace, {slug(right): without(roles[CREATE], right) for right in every})
    return namespace


# building without a builder that runs


def test_rbac_build_where_there_is_no_builder_names_the_right_to_make_one(
    makers: Namespace, context: Callable[..., Path], tmp_path: Path, roles: dict[str, frozenset[str]]
) -> None:
    add_users(makers, {"builds": roles[BUILD]})
    user = as_user(makers, "builds", tmp_path, having=["list pods"])
    result = user("build", context({"Dockerfile": PLAIN}), "--builder=none", "--platform=linux/amd64")
    refusal(CREATE).check(result, "create configmaps", makers)
    assert not {item for item in makers.objects() if "/none" in item}


@pytest.mark.parametrize("right", STARTING)
def test_rbac_build_that_makes_its_builder_without_one_right(
    makers: Namespace, context: Callable[..., Path], tmp_path: Path, right: str
) -> None:
    told, name = STARTING[right], f"first-{list(STARTING).index(right)}"
    user = as_user(makers, slug(right), tmp_path, having=["patch pods"])
    result = user("build", context({"Dockerfile": PLAIN}), f"--builder={name}", "--platform=linux/amd64")
    told.check(result, right, makers)
    own = own_objects(makers, name)
    assert own == set() if told.role else f"StatefulSet/{name}-amd64" in own, f"{own}\n{result}"
    makers.kubectl("buildkit", "rm", "--ignore-not-found", name).ok()


def test_rbac_build_on_a_stopped_builder_starts_it_or_names_the_right_to(
    makers: Namespace, context: Callable[..., Path], tmp_path: Path, roles: dict[str, frozenset[str]]
) -> None:
    start = f"patch {STATEFULSETS}/scale"
    add_users(makers, {"starts": roles[BUILD], "starts-not": without(roles[BUILD], start)})
    name, tree = "stopped", context({"Dockerfile": PLAIN})
    makers.kubectl("buildkit", "create", name, "--platform=linux/amd64").ok()
    makers.kubectl("buildkit", "stop", name).ok()
    user = as_user(makers, "starts-not", tmp_path, having=["list pods"])
    refusal(BUILD, "is stopped").check(user("build", tree, f"--builder={name}"), start, makers)
    assert replicas(makers, name) == "0"
    result = as_user(makers, "starts", tmp_path, having=["list pods"])("build", tree, f"--builder={name}").ok()
    assert "is stopped: starting it" in result.stderr, str(result)
    # The start was by another way than that of create, which must not take itself for somebody else.
    makers.kubectl("buildkit", "create", name, "--platform=linux/amd64", "--replicas=2").ok()
    assert replicas(makers, name) == "2"
    makers.kubectl("buildkit", "rm", name).ok()


# making, changing, removing


@pytest.mark.parametrize("right", CREATING)
def test_rbac_create_without_one_right(makers: Namespace, tmp_path: Path, right: str) -> None:
    told, name = CREATING[right], f"new-{list(CREATING).index(right)}"
    user = as_user(makers, slug(right), tmp_path, having=["patch pods"])
    result = user("buildkit", "create", name, *NOWHERE)
    told.check(result, right, makers)
    own = own_objects(makers, name)
    if told.role:
        assert own == set()
    else:
        assert f"StatefulSet/{name}-amd64" in own
        makers.kubectl("buildkit", "rm", name).ok()


@pytest.mark.parametrize("right", CHANGING)
def test_rbac_change_without_one_right(makers: Namespace, tmp_path: Path, right: str) -> None:
    told, name = CHANGING[right], nowhere(makers, f"old-{list(CHANGING).index(right)}")
    user = as_user(makers, slug(right), tmp_path, having=["list pods"])
    before = data(makers, name)
    result = user("buildkit", "create", name, *NOWHERE, "--requests=cpu=101m")
    told.check(result, right, makers)
    assert (data(makers, name) == before) is bool(told.role)
    makers.kubectl("buildkit", "rm", name).ok()


@pytest.mark.parametrize("right", REMOVING)
def test_rbac_remove_without_one_right(makers: Namespace, tmp_path: Path, right: str) -> None:
    told, name = REMOVING[right], nowhere(makers, f"gone-{list(REMOVING).index(right)}")
    before = own_objects(makers, name)
    user = as_user(makers, slug(right), tmp_path, having=["patch pods"])
    told.check(user("buildkit", "rm", name), right, makers)
    own = own_objects(makers, name)
    if right in KEEPS:
        assert own == before
    elif not told.role:
        assert {item.partition("/")[0] for item in own} == told.left
    # Whoever has the right finishes it.
    makers.kubectl("buildkit", "rm", "--ignore-not-found", name).ok()
    assert own_objects(makers, name) == set()


@pytest.mark.parametrize("right", STOPPING)
def test_rbac_stop_without_one_right(makers: Namespace, tmp_path: Path, right: str) -> None:
    name = nowhere(makers, f"runs-{list(STOPPING).index(right)}")
    user = as_user(makers, slug(right), tmp_path, having=["patch pods"])
    STOPPING[right].check(user("buildkit", "stop", name), right, makers)
    assert replicas(makers, name) == "1"
    makers.kubectl("buildkit", "rm", name).ok()


# stopping what is idle


@pytest.fixture(scope="module")
def collectors(make_namespace: Callable[[str], Namespace]) -> Namespace:
    """A namespace with a builder that is idle, and a user for each right that the account of gc.yaml may lack."""
    made = make_namespace("rbac-gc")
    made.kubectl("buildkit", "create", "idle", "--platform=linux/amd64", "--idle-timeout=1s", "--bootstrap").ok()
    objects = yaml.safe_load_all((Path(__file__).parents[2] / "manifests/gc.yaml").read_text())
    role = rights(next(item for item in objects if item["kind"] == "Role"))
    add_users(made, {slug(right): without(role, right) for right in COLLECTING})
    return made


@pytest.mark.parametrize("right", COLLECTING)
def test_rbac_gc_without_one_right(collectors: Namespace, tmp_path: Path, right: str) -> None:
    having = f"list {LEASES}"
    user = as_user(collectors, slug(right), tmp_path, having=[having])
    COLLECTING[right].check(user("buildkit", "gc"), right, collectors)
    assert replicas(collectors, "idle") == "1"


def data(namespace: Namespace, name: str) -> Any:
    """What the builder's ConfigMap records, and the resources of its pods."""
    config_map = namespace.kubectl("get", "configmap", name, "-o", "json").json()["data"]
    template = namespace.kubectl("get", "statefulset", f"{name}-amd64", "-o", "json").json()["spec"]["template"]["spec"]
    return config_map, template["containers"][0]["resources"]
