"""Builders that change: size, image, configuration, emulators, a stop and a start; and what `rm` leaves. The rest is in test_verbs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.kubectl import MANAGED, BuildLog, Namespace, plan_lines
from tests.e2e.registry import Registry

AMD64 = "--platform=linux/amd64"
BOTH = "--platform=linux/amd64,linux/arm64"
RUN = "FROM busybox\nRUN uname -m\n"
BINFMT = Path("/proc/sys/fs/binfmt_misc")
INSTANCE = "app.kubernetes.io/instance"

Context = Callable[..., Path]


def pods(namespace: Namespace, builder: str) -> dict[str, dict[str, Any]]:
    """The builder's pods that stay, by name."""
    found = namespace.kubectl("get", "pods", "-l", f"{MANAGED},{INSTANCE}={builder}", "-o", "json").json()["items"]
    return {pod["metadata"]["name"]: pod for pod in found if not pod["metadata"].get("deletionTimestamp")}


def create(namespace: Namespace, name: str, *flags: str) -> str:
    """What `create` did in its own word: created, changed or unchanged."""
    result = namespace.kubectl("buildkit", "create", name, *flags).ok()
    said = re.fullmatch(rf'builder "{name}" (\w+)\n', result.stdout)
    assert said, str(result)
    return said[1]


@pytest.fixture
def temporary(namespace: Namespace) -> Iterator[Callable[[str], str]]:
    """Give a builder's name, and remove that builder in the end."""
    given: list[str] = []

    def give(name: str) -> str:
        given.append(name)
        return name

    yield give
    namespace.kubectl("buildkit", "rm", "--ignore-not-found", *given).ok()


# create


def test_create_fewer_platforms_removes_the_pool_they_do_not_need(namespace: Namespace, temporary: Callable[[str], str]) -> None:
    name = temporary("fixed")
    assert create(namespace, name, "--platform=linux/386,linux/amd64,linux/arm64") == "created"
    assert {n for n in namespace.stateful_sets() if n.startswith(name)} == {"fixed-amd64", "fixed-arm64"}
    assert create(namespace, name, AMD64) == "changed"
    assert {n for n in namespace.stateful_sets() if n.startswith(name)} == {"fixed-amd64"}


@pytest.mark.parametrize("name", ["Capital", "under_score", "x" * 64, "-dash"])
def test_create_name_that_no_object_may_have_is_refused(namespace: Namespace, name: str) -> None:
    namespace.kubectl("buildkit", "create", "--", name).failed(2, name)


def test_create_two_replicas_run_and_stay_when_not_asked_for(namespace: Namespace, temporary: Callable[[str], str]) -> None:
    name = temporary("twins")
    assert create(namespace, name, AMD64, "--replicas=2", "--bootstrap") == "created"
    listed = namespace.kubectl("buildkit", "ls", "-o", "json").json()["builders"]
    (pool,) = next(builder for builder in listed if builder["name"] == name)["pools"]
    assert pool["replicas"] == 2
    assert set(pods(namespace, name)) == {"twins-amd64-0", "twins-amd64-1"}
    assert create(namespace, name, AMD64) == "unchanged"
    assert set(pods(namespace, name)) == {"twins-amd64-0", "twins-amd64-1"}
    assert create(namespace, name, AMD64, "--replicas=1") == "changed"
    namespace.kubectl("wait", "--for=delete", "pod/twins-amd64-1", "--timeout=60s").ok()


def test_create_other_image_replaces_the_idle_pod(namespace: Namespace, temporary: Callable[[str], str]) -> None:
    name = temporary("rolled")
    create(namespace, name, AMD64, "--bootstrap")
    (old,) = pods(namespace, name).values()
    image = old["spec"]["containers"][0]["image"].removeprefix("docker.io/")
    assert create(namespace, name, AMD64, f"--image={image}", "--bootstrap") == "changed"
    (new,) = pods(namespace, name).values()
    assert new["spec"]["containers"][0]["image"] == image
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    assert create(namespace, name, AMD64, f"--image={image}") == "unchanged"


def recorded(namespace: Namespace, builder: str) -> dict[str, Any]:
    """What the builder's ConfigMap says of it."""
    found = yaml.safe_load(namespace.kubectl("get", "configmap", builder, "-o", "json").json()["data"]["builder.yaml"])
    return dict(found)


def test_create_again_changes_what_is_said_and_says_what_stays(namespace: Namespace, temporary: Callable[[str], str]) -> None:
    name = temporary("grown")
    create(namespace, name, AMD64, "--cache=emptydir,size=2Gi", "--env=TOKEN=hush", "--env=A=1", "--limits=memory=1Gi", "--idle-timeout=2h")
    before = recorded(namespace, name)

    result = namespace.kubectl("buildkit", "create", name, "--limits=memory=2Gi", "--env=TOKEN=hush2").ok()

    assert "changed: resources.limits.memory 1Gi -> 2Gi, env.TOKEN\n" in result.stderr
    assert "platform, cache, idleTimeout, registries (--reset NAME" in result.stderr
    assert "hush" not in result.stderr
    limits = {**before["resources"], "limits": {"memory": "2Gi"}}
    assert recorded(namespace, name) == {**before, "resources": limits, "env": {"TOKEN": "hush2", "A": "1"}}
    assert create(namespace, name, "--limits=memory=2Gi") == "unchanged"
    assert create(namespace, name) == "unchanged"

    assert create(namespace, name, "--reset=env.TOKEN,cache") == "changed"
    after = {key: value for key, value in before.items() if key != "cache"}
    assert recorded(namespace, name) == {**after, "resources": limits, "env": {"A": "1"}}
    assert create(namespace, name, "--reset=all") == "changed"
    assert recorded(namespace, name).keys() == {"image", "security", "replicas", "resources", "registries"}


def test_create_from_a_file_replaces_the_builder_whole(namespace: Namespace, temporary: Callable[[str], str], tmp_path: Path) -> None:
    name = temporary("filed")
    printed = namespace.kubectl("buildkit", "create", name, AMD64, "--labels=team=ci", "--dry-run=client", "-o", "yaml").ok().stdout
    (tmp_path / "builder.yaml").write_text(printed)
    create(namespace, name, AMD64, "--env=A=1", "--cache=emptydir,size=2Gi")

    result = namespace.kubectl("buildkit", "create", name, "--from-file", tmp_path / "builder.yaml").ok()

    assert "changed: env.A, cache type=emptydir,size=2Gi -> unset, labels.team unset -> ci\n" in result.stderr, str(result)
    assert {"env", "cache"} & recorded(namespace, name).keys() == set()
    kept = namespace.kubectl("buildkit", "create", name, "--env=B=2", "--dry-run=client", "-o", "yaml").ok().stdout
    assert "team: ci" in kept


@pytest.mark.parametrize("replicas", ["0", "-1"])
def test_create_replicas_that_are_no_positive_number_are_refused(namespace: Namespace, replicas: str) -> None:
    before = namespace.objects()
    namespace.kubectl("buildkit", "create", "x", f"--replicas={replicas}").failed(2, "replicas", replicas)
    assert namespace.objects() == before


def test_create_reset_of_a_name_that_is_not_known_is_refused_for_a_new_builder(namespace: Namespace) -> None:
    before = namespace.objects()
    namespace.kubectl("buildkit", "create", "x", "--reset=nosuch").failed(2, '--reset "nosuch" is not known', "buildkitdConfig")
    assert namespace.objects() == before


def test_create_output_without_dry_run_is_a_usage_error(namespace: Namespace) -> None:
    namespace.kubectl("buildkit", "create", "x", "-o", "yaml").failed(2, "--dry-run")


def test_create_buildkitd_config_reaches_the_daemons_and_the_push_of_the_index(
    make_namespace: Callable[[str], Namespace], context: Context, registry: Registry, tmp_path: Path
) -> None:
    """The namespace's own empty defaults hide those of the cluster: only the file knows the mirror and the registry."""
    namespace = make_namespace("toml")
    known = namespace.kubectl("get", "configmap", "kubectl-build-defaults", "-n", "kube-public", "-o", "json").json()
    mirrors = json.loads(known["data"]["builder.yaml"])["registries"]["docker.io"]["mirrors"]
    own = {"metadata": {"name": "kubectl-build-defaults"}, "data": {"builder.yaml": "{}"}}
    namespace.kubectl.apply({"apiVersion": "v1", "kind": "ConfigMap", **own})
    namespace.secret("my-secret")
    toml = tmp_path / "buildkitd.toml"
    toml.write_text(
        f'[registry."docker.io"]\nmirrors = {json.dumps(mirrors)}\n'
        f'[registry."{mirrors[0].partition("/")[0]}"]\nhttp = true\n'
        f'[registry."{namespace.cluster.registry}"]\nca = ["{namespace.cluster.ca}"]\n'
    )
    create(namespace, "buildkit", BOTH, f"--buildkitd-config={toml}", "--bootstrap")
    repository = namespace.repository("toml")
    push = ("-t", f"{namespace.cluster.registry}/{repository}:v1", "--push", "--registry-secret=my-secret")
    result = namespace.kubectl("build", context({"Dockerfile": RUN}), BOTH, *push).ok()
    assert plan_lines(result.stderr) == {"linux/amd64": ("native", "amd64"), "linux/arm64": ("native", "arm64")}
    assert list(registry.images(repository, "v1")) == ["linux/amd64", "linux/arm64"]
    namespace.kubectl("buildkit", "rm", "buildkit").ok()
    assert namespace.objects() == set()


def test_create_buildkitd_config_that_is_not_there_is_named(namespace: Namespace, tmp_path: Path) -> None:
    before = namespace.objects()
    missing = tmp_path / "none.toml"
    namespace.kubectl("buildkit", "create", "x", f"--buildkitd-config={missing}").failed(2, str(missing))
    broken = tmp_path / "broken.toml"
    broken.write_text("[registry\n")
    namespace.kubectl("buildkit", "create", "x", f"--buildkitd-config={broken}").failed(3, str(broken))
    assert namespace.objects() == before


@pytest.fixture
def without_ppc64le() -> Iterator[None]:
    """The node's kernel is this machine's; what a test registers there goes again, and the cluster's own emulators stay."""
    entry = BINFMT / "qemu-ppc64le"
    assert not entry.exists(), "left by an earlier run: echo -1 > " + str(entry)
    before = {path.name: path.read_text() for path in BINFMT.iterdir() if path.name.startswith("qemu-")}
    yield
    if entry.exists():
        entry.write_text("-1")
    assert {path.name: path.read_text() for path in BINFMT.iterdir() if path.name.startswith("qemu-")} == before


@pytest.mark.usefixtures("without_ppc64le")
def test_create_qemu_install_makes_another_architecture_buildable(
    namespace: Namespace, context: Context, temporary: Callable[[str], str]
) -> None:
    name = temporary("emulating")
    create(namespace, name, AMD64, "--bootstrap")
    run = ("build", context({"Dockerfile": RUN}), f"--builder={name}", "--platform=linux/ppc64le", "--progress=rawjson")
    namespace.kubectl(*run).failed(2, "linux/ppc64le", "--qemu-install")
    result = namespace.kubectl("buildkit", "create", name, AMD64, "--qemu-install", "--bootstrap").ok()
    assert "for everything that runs on them" in result.stderr, str(result)
    assert "ppc64le" in BuildLog.of(namespace.kubectl(*run).ok()).output


# ls, inspect


def test_ls_without_builders_says_so_on_stderr(namespace: Namespace) -> None:
    result = namespace.kubectl("buildkit", "ls", "-n", "kube-public").ok()
    assert result.stdout == ""
    assert "kube-public" in result.stderr


def test_inspect_bootstrap_starts_a_stopped_builder(namespace: Namespace, temporary: Callable[[str], str]) -> None:
    name = temporary("stopped")
    create(namespace, name, AMD64, "--bootstrap")
    namespace.kubectl("scale", "statefulset/stopped-amd64", "--replicas=0").ok()
    namespace.kubectl("wait", "--for=delete", "pod/stopped-amd64-0", "--timeout=60s").ok()
    before = namespace.kubectl("buildkit", "inspect", name, "-o", "json").json()
    assert before["status"] != "running"
    assert before["pools"][0]["pods"] == []
    after = namespace.kubectl("buildkit", "inspect", name, "--bootstrap", "-o", "json").json()
    assert after["status"] == "running"
    assert "linux/amd64" in after["pools"][0]["pods"][0]["platforms"]


# rm


def test_rm_waits_and_removes_all_of_the_builder_and_nothing_of_others(namespace: Namespace) -> None:
    create(namespace, "doomed", AMD64, "--bootstrap")
    # One with the builder's label in another's hands, one with a name that begins like the builder's.
    chart = {"name": "chart", "labels": {INSTANCE: "doomed", "app.kubernetes.io/managed-by": "Helm"}}
    namespace.kubectl.apply(*({"apiVersion": "v1", "kind": "ConfigMap", "metadata": m} for m in (chart, {"name": "doomed-amd64"})))
    create(namespace, "doomed-too", AMD64)
    others = {name for name in namespace.objects() if "/doomed" not in name or "/doomed-too" in name}
    result = namespace.kubectl("buildkit", "rm", "doomed").ok()
    assert result.stdout == 'builder "doomed" removed\n'
    # Waited for: not even a pod that terminates is left.
    assert namespace.kubectl("get", "pods", "-l", f"{INSTANCE}=doomed", "-o", "name").ok().stdout == ""
    assert namespace.objects() == others
    namespace.kubectl("get", "configmap/chart", "configmap/doomed-amd64").ok()
    namespace.kubectl("buildkit", "rm", "doomed-too").ok()


def test_rm_several_removes_those_there_and_names_the_others(namespace: Namespace) -> None:
    create(namespace, "there", AMD64)
    result = namespace.kubectl("buildkit", "rm", "nobody", "there").failed(4, '"nobody"')
    assert '"there"' not in result.stderr
    assert not [name for name in namespace.objects() if name.endswith(("/there", "/there-amd64"))]
