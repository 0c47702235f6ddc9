"""Users with few rights who build or look: each right taken away in turn, and how little is enough."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.kubectl import Kubectl, Namespace
from tests.e2e.registry import Registry
from tests.e2e.rights import BUILD, LEASES, SECONDS, STATEFULSETS, VIEW, WELL, lacks, note, printed_roles, refusal, several, slug, without
from tests.e2e.users import add_users, as_user

PLAIN = "FROM scratch\nCOPY Dockerfile /\n"
BOTH = "--platform=linux/amd64,linux/arm64"
MINIMUM = frozenset({"list pods", "get pods/exec", "create pods/exec"})

BUILDING = {
    "list pods": refusal(BUILD),
    "get pods/exec": refusal(BUILD, "exec needs get and create"),
    # API servers from 1.35 on ask for this one too.
    "create pods/exec": refusal(BUILD, "exec needs get and create"),
    "list configmaps": note("you may not list configmaps"),
    f"list {STATEFULSETS}": note("you may not list statefulsets"),
    f"create {LEASES}": note("you may not create leases"),
    f"delete {LEASES}": note("you may not delete leases", left=frozenset({"Lease"})),
    "get secrets=buildkit": note('registry secret "buildkit"', "may not be read"),
    several(*(f"{verb} {LEASES}" for verb in ("get", "list", "watch", "patch"))): WELL,
    several("get pods", "watch pods", "get configmaps", "watch configmaps", f"get {STATEFULSETS}", f"watch {STATEFULSETS}"): WELL,
    # Only a builder that is stopped, or does not start, needs these.
    several(f"patch {STATEFULSETS}/scale", "get events", "list events", "watch events"): WELL,
}

LOOKING = {
    "list pods": refusal(BUILD),
    "list configmaps": note("you may not list configmaps"),
    f"list {STATEFULSETS}": note("you may not list statefulsets"),
}


@pytest.fixture(scope="module")
def roles(namespace: Namespace) -> dict[str, frozenset[str]]:
    """The rights of each Role, by its name."""
    return printed_roles(namespace)


@pytest.fixture(scope="module")
def builder(make_namespace: Callable[[str], Namespace], roles: dict[str, frozenset[str]]) -> Namespace:
    """A namespace whose builder, made by an admin, runs in both pools; and a user for each right that people who build may lack."""
    made = make_namespace("rbac-builder")
    made.kubectl("buildkit", "create", "--bootstrap", BOTH).ok()
    add_users(made, {"minimum": MINIMUM, **{slug(right): without(roles[BUILD], right) for right in BUILDING}})
    return made


def logged_in(kubectl: Kubectl, builder: Namespace, directory: Path) -> Kubectl:
    """The same with a login of docker's own for the cluster's registry."""
    cluster = builder.cluster
    login = base64.b64encode(f"{cluster.user}:{cluster.password}".encode()).decode()
    (directory / "config.json").write_text(json.dumps({"auths": {cluster.registry: {"auth": login}}}))
    return kubectl.with_env(DOCKER_CONFIG=str(directory))


# building


def test_rbac_list_pods_and_exec_are_enough_to_build_and_push_on_both_pools(
    builder: Namespace, context: Callable[..., Path], registry: Registry, tmp_path: Path
) -> None:
    user = logged_in(as_user(builder, "minimum", tmp_path, having=sorted(MINIMUM)), builder, tmp_path)
    repository = builder.repository()
    before = builder.objects()
    tree = context({"Dockerfile": "FROM busybox\nRUN uname -m\n"})
    result = user("build", tree, BOTH, "-t", f"{builder.cluster.registry}/{repository}:v1", "--push").ok()
    assert registry.tags(repository) == ["v1"]
    assert set(registry.images(repository, "v1")) == {"linux/amd64", "linux/arm64"}
    for what in ("configmaps", "statefulsets", "nodes"):
        assert result.stderr.count(f"you may not list {what}") == 1, str(result)
    assert result.stderr.count("you may not create leases") == 1, str(result)
    assert builder.objects() == before


@pytest.mark.parametrize("words", ["ls", "inspect", "version", "du", "use buildkit", "doctor"])
def test_rbac_list_pods_and_exec_are_enough_to_look(builder: Namespace, tmp_path: Path, words: str) -> None:
    user = as_user(builder, "minimum", tmp_path, having=sorted(MINIMUM)).with_env(XDG_CONFIG_HOME=str(tmp_path))
    result = user("buildkit", *words.split()).ok().failed(0)
    told = [line for line in result.stderr.splitlines() if "you may not" in line]
    assert len(told) == len(set(told)), str(result)
    assert result.seconds < SECONDS


@pytest.mark.parametrize("right", BUILDING)
def test_rbac_build_without_one_right(builder: Namespace, context: Callable[..., Path], tmp_path: Path, right: str) -> None:
    told = BUILDING[right]
    if right == "create pods/exec" and not exec_needs_create(builder):
        told = WELL
    having = ["list pods"] if right != "list pods" else ["list configmaps"]
    user = as_user(builder, slug(right), tmp_path, having=having)
    before = builder.objects()
    told.check(user("build", context({"Dockerfile": PLAIN})), right, builder)
    assert {item.partition("/")[0] for item in builder.objects() - before} <= told.left


def test_rbac_every_right_of_people_who_build_has_its_case(roles: dict[str, frozenset[str]]) -> None:
    assert {right for rights in BUILDING for right in rights.split(", ")} == roles[BUILD]


# looking


@pytest.mark.parametrize("verb", ["ls", "inspect"])
def test_rbac_view_shows_builders_but_for_what_only_daemons_know(
    builder: Namespace, tmp_path: Path, roles: dict[str, frozenset[str]], verb: str
) -> None:
    add_users(builder, {"views": roles[VIEW]})
    user = as_user(builder, "views", tmp_path, having=["list pods"])
    result = user("buildkit", verb).ok()
    assert "buildkit" in result.stdout, str(result)
    assert not lacks(result), str(result)
    assert result.seconds < SECONDS


@pytest.mark.parametrize("right", LOOKING)
@pytest.mark.parametrize("verb", ["ls", "inspect"])
def test_rbac_look_without_one_right(builder: Namespace, tmp_path: Path, roles: dict[str, frozenset[str]], verb: str, right: str) -> None:
    name = f"views-no-{slug(right)}"
    add_users(builder, {name: without(roles[VIEW], right)})
    user = as_user(builder, name, tmp_path, having=["list events"])
    LOOKING[right].check(user("buildkit", verb), right, builder)


def test_rbac_view_may_not_build(
    builder: Namespace, context: Callable[..., Path], tmp_path: Path, roles: dict[str, frozenset[str]]
) -> None:
    add_users(builder, {"views": roles[VIEW]})
    user = as_user(builder, "views", tmp_path, having=["list pods"])
    refusal(BUILD).check(user("build", context({"Dockerfile": PLAIN})), "get pods/exec", builder)


def exec_needs_create(namespace: Namespace) -> bool:
    """Whether the API server is of 1.35 or later."""
    version = namespace.kubectl("version", "-o", "json").json()["serverVersion"]
    return (int(version["major"]), int(version["minor"].rstrip("+"))) >= (1, 35)
