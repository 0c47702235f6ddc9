"""Users with few rights: what each right is for, one taken away at a time, and how little is enough for a build."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.kubectl import Kubectl, Namespace, Result
from tests.e2e.registry import Registry
from tests.e2e.users import add_users, as_user, rights

SECONDS = 15.0
"""How long an error may take to be told."""
STARTED = 60.0
"""How long a command may take that starts or ends pods on the way."""
PLAIN = "FROM scratch\nCOPY Dockerfile /\n"
BOTH = "--platform=linux/amd64,linux/arm64"
NOWHERE = ("--platform=linux/amd64", "--scheduler-name=e2e-nobody")
"""A builder whose pods are never scheduled, so that it takes nothing from others."""

MINIMUM = frozenset({"list pods", "get pods/exec", "create pods/exec"})
BUILD, CREATE, VIEW, NODES = "kubectl-build", "kubectl-buildkit", "kubectl-build-view", "kubectl-build-nodes"

STATEFULSETS = "statefulsets.apps"
POLICIES = "networkpolicies.networking.k8s.io"
LEASES = "leases.coordination.k8s.io"


@dataclass(frozen=True, slots=True)
class Told:
    """What comes of a right that is missing: a note in `words`, or an error that names the right, the namespace and `role`.

    Nothing at all (no words) means that there is another way.
    """

    words: tuple[str, ...] = ()
    role: str = ""
    left: frozenset[str] = frozenset()
    """Objects that stay after it, where they do."""

    def check(self, result: Result, right: str, namespace: Namespace) -> None:
        verb, _, target = right.partition(" ")
        if self.role:
            resource = target.partition("=")[0]
            named = (verb, resource, f'namespace "{namespace.name}"', f'Role "{self.role}"')
            result.failed(4, *named, *self.words)
            assert result.stderr.count("error: ") == 1, str(result)
        else:
            result.ok().failed(0, *self.words)
            if not self.words:
                assert not lacks(result), str(result)
        assert result.seconds < (SECONDS if self.role else STARTED), str(result)


def lacks(result: Result) -> set[str]:
    """The rights that notes say are missing, but for those of which it depends on the time that something takes, and that of nodes."""
    return set(re.findall(r"you may not ([a-z]+ [a-z ]+)", result.stderr)) - {"list nodes", "patch pods", "list events"}


WELL = Told()


def refusal(role: str, *words: str) -> Told:
    return Told(words, role)


def note(*words: str, left: frozenset[str] = frozenset()) -> Told:
    return Told(words, left=left)


BUILDING = {
    "list pods": refusal(BUILD),
    "get pods": WELL,
    "watch pods": WELL,
    "get pods/exec": refusal(BUILD, "exec needs get and create"),
    # API servers from 1.35 on ask for this one too.
    "create pods/exec": refusal(BUILD, "exec needs get and create"),
    "get configmaps": WELL,
    "list configmaps": note("you may not list configmaps"),
    "watch configmaps": WELL,
    f"get {STATEFULSETS}": WELL,
    f"list {STATEFULSETS}": note("you may not list statefulsets"),
    f"watch {STATEFULSETS}": WELL,
    # Only a builder that is stopped needs it.
    f"patch {STATEFULSETS}/scale": WELL,
    "get events": WELL,
    "list events": WELL,
    "watch events": WELL,
    f"get {LEASES}": WELL,
    f"list {LEASES}": WELL,
    f"watch {LEASES}": WELL,
    f"create {LEASES}": note("you may not create leases"),
    f"patch {LEASES}": WELL,
    f"delete {LEASES}": note("you may not delete leases", left=frozenset({"Lease"})),
    "get secrets=buildkit": note('registry secret "buildkit"', "may not be read"),
}

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
    "delete pods": WELL,
    f"list {POLICIES}": note("NetworkPolicy", "is left", left=frozenset({"NetworkPolicy"})),
    f"delete {POLICIES}": note("NetworkPolicy", "is left", left=frozenset({"NetworkPolicy"})),
    f"list {LEASES}": WELL,
    f"delete {LEASES}": WELL,
    "list persistentvolumeclaims": WELL,
    "delete persistentvolumeclaims": WELL,
}
KEEPS = {f"delete {STATEFULSETS}", f"list {STATEFULSETS}", "list configmaps", "list pods"}
"""Without these a builder is not touched at all."""

STOPPING = {f"list {STATEFULSETS}": refusal(BUILD), f"patch {STATEFULSETS}": refusal(CREATE), "list pods": refusal(BUILD)}

LOOKING = {
    "list pods": refusal(BUILD),
    "list configmaps": note("you may not list configmaps"),
    f"list {STATEFULSETS}": note("you may not list statefulsets"),
}


STARTING = {
    "create configmaps": refusal(CREATE),
    "create secrets": refusal(CREATE),
    f"create {STATEFULSETS}": refusal(CREATE),
    "get configmaps": note("kubectl-build-defaults"),
    f"list {STATEFULSETS}": note("you may not list statefulsets"),
    f"watch {STATEFULSETS}": WELL,
    "watch pods": WELL,
    "list events": WELL,
    "delete pods": WELL,
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


def slug(text: str) -> str:
    """A right as part of an object's name."""
    return "".join(character if character.isalnum() else "-" for character in text).rstrip("-")


def without(role: frozenset[str], right: str) -> frozenset[str]:
    assert right in role, f"the Role does not grant: {right}"
    return role - {right}


@pytest.fixture(scope="module")
def roles(namespace: Namespace) -> dict[str, frozenset[str]]:
    """The rights of each Role that `create --with-rbac` prints, by the Role's name."""
    printed = namespace.kubectl("buildkit", "create", "--dry-run=client", "-o", "yaml", "--with-rbac", *NOWHERE).ok().stdout
    objects: list[dict[str, Any]] = list(yaml.safe_load_all(printed))
    found = {item["metadata"]["name"]: item for item in objects if item["kind"] in ("Role", "ClusterRole")}
    assert set(found) == {BUILD, CREATE, VIEW, NODES}
    assert all(item["metadata"].get("namespace") == namespace.name for item in found.values() if item["kind"] == "Role")
    return {name: rights(item) for name, item in found.items()}


@pytest.fixture(scope="module")
def builder(make_namespace: Callable[[str], Namespace], roles: dict[str, frozenset[str]]) -> Namespace:
    """A namespace whose builder, made by an admin, runs in both pools; and a user for each right that people who build may lack."""
    made = make_namespace("rbac-builder")
    made.kubectl("buildkit", "create", "--bootstrap", BOTH).ok()
    add_users(made, {"minimum": MINIMUM, **{slug(right): without(roles[BUILD], right) for right in BUILDING}})
    return made


@pytest.fixture(scope="module")
def makers(namespace: Namespace, roles: dict[str, frozenset[str]]) -> Namespace:
    """The module's namespace with a user for each right that people who make builders may lack."""
    every = {**CREATING, **CHANGING, **REMOVING, **STOPPING, **STARTING}
    add_users(namespace, {slug(right): without(roles[CREATE], right) for right in every})
    return namespace


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
    assert set(BUILDING) == roles[BUILD]


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


def nowhere(namespace: Namespace, name: str) -> str:
    """Make a builder whose pods are never scheduled, as an admin, and return its name."""
    namespace.kubectl("buildkit", "create", name, *NOWHERE).ok()
    if not own_objects(namespace, name) >= {f"StatefulSet/{name}-amd64", f"ConfigMap/{name}"}:
        raise AssertionError(f"builder {name} is not whole: {own_objects(namespace, name)}")
    return name


def replicas(namespace: Namespace, name: str) -> str:
    """How many pods the builder's pool is to have."""
    return namespace.kubectl("get", "statefulset", f"{name}-amd64", "-o", "jsonpath={.spec.replicas}").ok().stdout


def own_objects(namespace: Namespace, name: str) -> set[str]:
    """What the builder has in the namespace, without its pods, which go when their set has gone."""
    return {item for item in namespace.objects() if item.partition("/")[2] in (name, f"{name}-amd64", f"{name}-certs")}


def data(namespace: Namespace, name: str) -> Any:
    """What the builder's ConfigMap records, and the resources of its pods."""
    config_map = namespace.kubectl("get", "configmap", name, "-o", "json").json()["data"]
    template = namespace.kubectl("get", "statefulset", f"{name}-amd64", "-o", "json").json()["spec"]["template"]["spec"]
    return config_map, template["containers"][0]["resources"]
