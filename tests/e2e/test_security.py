"""The security ladder on a real cluster: what each level's pods really are, what builds there, and how one is chosen and given up."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kubectl import MANAGED, Namespace, pod_object
from tests.e2e.registry import Registry

AMD64 = "--platform=linux/amd64"
LEVELS = ("userns", "rootless", "privileged")
INITIAL_MAP = "4294967295"
"""The length of the one line of /proc/self/uid_map outside every user namespace."""
DOCKERFILE = """\
FROM busybox AS base
RUN echo somebody:x:1234:1234::/:/bin/sh >>/etc/passwd
RUN --mount=type=cache,target=/cache echo made >/made && chown somebody /made && touch /cache/x
USER somebody
RUN id -un >/tmp/who
FROM base
RUN cat /made /tmp/who >/tmp/both && test "$(stat -c %U /made)" = somebody
CMD ["cat", "/tmp/both"]
"""

Context = Callable[..., Path]
NUMBERS = itertools.count()


def pod(namespace: Namespace, builder: str) -> dict[str, Any]:
    """The builder's one pod."""
    found = namespace.kubectl("get", "pods", "-l", f"{MANAGED},app.kubernetes.io/instance={builder}", "-o", "json").json()["items"]
    (only,) = [item for item in found if not item["metadata"].get("deletionTimestamp")]
    return dict(only)


def inside(namespace: Namespace, name: str, *command: str) -> str:
    """What a command prints in the daemon's container of a pod."""
    return namespace.kubectl("exec", name, "-c", "buildkitd", "--", *command).ok().stdout.strip()


def levels(namespace: Namespace, builder: str) -> str:
    """The security levels that the builder's pools have."""
    return str(namespace.kubectl("buildkit", "inspect", builder, "-o", "json").json()["security"])


@pytest.fixture
def other(make_namespace: Callable[[str], Namespace]) -> Iterator[Namespace]:
    """A namespace for one test that changes it."""
    made = make_namespace(f"security-{next(NUMBERS)}")
    made.secret("my-secret")
    yield made
    made.kubectl("delete", "namespace", made.name, "--wait=false").ok()


@pytest.fixture(scope="module", params=LEVELS)
def builder(request: pytest.FixtureRequest, namespace: Namespace) -> Iterator[str]:
    """A builder of each level, that has started."""
    level = str(request.param)
    result = namespace.kubectl("buildkit", "create", level, AMD64, f"--security={level}", "--bootstrap").ok()
    assert f"security of pool amd64: {level}, as asked for" in result.stderr
    yield level
    namespace.kubectl("buildkit", "rm", level).ok()


# what a level is


def test_pod_is_what_its_level_says(namespace: Namespace, builder: str) -> None:
    made = pod(namespace, builder)
    name = made["metadata"]["name"]
    ids = inside(namespace, name, "cat", "/proc/self/uid_map").split()

    assert made["metadata"]["annotations"]["kubectl-build/security"] == builder
    assert levels(namespace, builder) == builder
    assert (INITIAL_MAP in ids) == (builder != "userns")
    assert inside(namespace, name, "id", "-u") == ("1000" if builder == "rootless" else "0")
    # A process without capabilities: root's are all there in the two others, of whatever user namespace they are.
    effective = int(inside(namespace, name, "sh", "-c", "grep CapEff /proc/self/status | cut -f2"), 16)
    assert (effective == 0) == (builder == "rootless")
    assert inside(namespace, name, "sh", "-c", "ls /var/run/secrets/kubernetes.io 2>/dev/null || echo none") == "none"


def test_builder_builds_steps_pushes_and_the_cluster_pulls(
    namespace: Namespace, builder: str, context: Context, registry: Registry
) -> None:
    repository = namespace.repository(builder)
    name = f"{namespace.cluster.registry}/{repository}:v1"
    flags = "-t", name, "--push", "--registry-secret=my-secret", "--progress=plain", f"--builder={builder}"
    namespace.kubectl("build", context({"Dockerfile": DOCKERFILE}), *flags, AMD64).ok()

    assert registry.tags(repository) == ["v1"]
    namespace.kubectl.apply(pod_object(f"runs-{builder}", name, arch="amd64", secrets=["my-secret"]))
    assert namespace.pod_runs(f"runs-{builder}") == "made\nsomebody\n"


def test_builder_has_the_configuration_with_its_authorities(namespace: Namespace, builder: str) -> None:
    """The push above has proved that it is read; here, that only the daemon can."""
    name = pod(namespace, builder)["metadata"]["name"]
    modes = inside(namespace, name, "sh", "-c", "stat -L -c %a /etc/buildkit/certs/*").split()

    assert modes == ["440" if builder == "rootless" else "400"] * len(modes)
    assert inside(namespace, name, "sh", "-c", "touch /etc/buildkit/x 2>&1 || true").endswith("Read-only file system")


def test_builder_emulates_the_other_architecture(namespace: Namespace, builder: str, context: Context, registry: Registry) -> None:
    repository = namespace.repository("emulated")
    name = f"{namespace.cluster.registry}/{repository}:v1"
    flags = "-t", name, "--push", "--registry-secret=my-secret", f"--builder={builder}", "--platform=linux/arm64"
    namespace.kubectl("build", context({"Dockerfile": "FROM busybox\nRUN uname -m >/machine\n"}), *flags).ok()

    assert registry.image(repository, "v1").files["machine"] == b"aarch64\n"


def test_create_of_another_level_replaces_the_pod_and_none_keeps_it(namespace: Namespace) -> None:
    create = "buildkit", "create", "changed", AMD64, "--bootstrap"
    namespace.kubectl(*create, "--security=privileged").ok()
    first = pod(namespace, "changed")
    assert "hostUsers" not in first["spec"]
    # What is asked for is another thing then, but what is there stays.
    namespace.kubectl(*create).ok()
    assert pod(namespace, "changed")["metadata"]["uid"] == first["metadata"]["uid"]
    assert levels(namespace, "changed") == "privileged"
    namespace.kubectl(*create, "--security=userns").ok()
    assert pod(namespace, "changed")["spec"]["hostUsers"] is False
    namespace.kubectl("buildkit", "rm", "changed").ok()


# how it is chosen


def test_build_makes_a_builder_in_a_user_namespace_and_says_so(other: Namespace, context: Context) -> None:
    result = other.kubectl("build", context({"Dockerfile": "FROM busybox\nRUN true\n"}), AMD64, "--progress=plain").ok()

    assert "security of pool amd64: userns, the safest there is" in result.stderr
    assert pod(other, "buildkit")["spec"]["hostUsers"] is False
    assert levels(other, "buildkit") == "userns"
    config = other.kubectl("get", "configmap", "buildkit", "-o", "json").json()
    assert "security: auto\n" in config["data"]["builder.yaml"]


@pytest.mark.parametrize("standard", ["baseline", "restricted"])
@pytest.mark.parametrize("level", ["auto", *LEVELS])
def test_namespace_that_admits_none_is_told_with_the_label_at_once(other: Namespace, context: Context, standard: str, level: str) -> None:
    other.kubectl("label", "namespace", other.name, f"pod-security.kubernetes.io/enforce={standard}").ok()

    result = other.kubectl("buildkit", "create", "b", AMD64, f"--security={level}", "--bootstrap")
    result.failed(
        4,
        f'namespace "{other.name}" does not admit the pods of a builder',
        f'violates PodSecurity "{standard}:latest"',
        f"kubectl label namespace {other.name} pod-security.kubernetes.io/enforce=privileged --overwrite",
    )
    assert result.seconds < 15
    assert other.objects() == set()
    if level == "auto":
        other.kubectl("build", context({"Dockerfile": "FROM busybox\n"}), AMD64).failed(4, "does not admit the pods of a builder")
        assert other.objects() == set()
        # And the sentence is true.
        other.kubectl("label", "namespace", other.name, "pod-security.kubernetes.io/enforce=privileged", "--overwrite").ok()
        other.kubectl("build", context({"Dockerfile": "FROM busybox\nRUN true\n"}), AMD64).ok()


@pytest.fixture
def policy(other: Namespace) -> Iterator[Callable[[str, dict[str, Any], str], None]]:
    """Make an admission policy for pods of the namespace `other`, which goes at the end."""
    made: list[str] = []

    def make(kind: str, spec: dict[str, Any], version: str) -> None:
        name = f"{other.name}-{len(made)}"
        group = f"admissionregistration.k8s.io/{version}"
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
        selector = {"matchLabels": {"kubernetes.io/metadata.name": other.name}}
        constraints = {"resourceRules": [rule], "namespaceSelector": selector}
        action = {"validationActions": ["Deny"]} if kind.startswith("Validating") else {}
        other.kubectl.apply(
            {
                "apiVersion": group,
                "kind": kind,
                "metadata": {"name": name},
                "spec": {"failurePolicy": "Fail", "matchConstraints": constraints, **spec},
            },
            {"apiVersion": group, "kind": f"{kind}Binding", "metadata": {"name": name}, "spec": {"policyName": name, **action}},
        )
        made.extend((f"{kind}Binding/{name}", f"{kind}/{name}"))

    yield make
    other.kubectl("delete", *made).ok()


def wait_for_policy(namespace: Namespace, *, applies: Callable[[str], bool]) -> None:
    """Policies hold a moment after they are made: ask until a privileged pod's dry run says so."""
    container = {"name": "c", "image": "busybox", "securityContext": {"privileged": True}}
    trial = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "t"}, "spec": {"hostUsers": False, "containers": [container]}}
    said = ""
    for _ in range(100):
        answer = namespace.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(trial))
        said = answer.stdout + answer.stderr
        if applies(said):
            return
    raise AssertionError(f"the policy does not hold: {said}")


def test_policy_against_privilege_leaves_rootless(
    other: Namespace, context: Context, policy: Callable[[str, dict[str, Any], str], None]
) -> None:
    expression = (
        "object.spec.containers.all(c, !has(c.securityContext) || !has(c.securityContext.privileged) || !c.securityContext.privileged)"
    )
    policy("ValidatingAdmissionPolicy", {"validations": [{"expression": expression, "message": "nobody is privileged here"}]}, "v1")
    wait_for_policy(other, applies=lambda said: "nobody is privileged here" in said)

    result = other.kubectl("build", context({"Dockerfile": "FROM busybox\nRUN true\n"}), AMD64, "--progress=plain").ok()

    assert "security of pool amd64: rootless, for want of a safer one; not userns: " in result.stderr
    assert "nobody is privileged here" in result.stderr
    assert levels(other, "buildkit") == "rootless"


def test_user_namespace_that_is_dropped_is_not_taken(
    other: Namespace, context: Context, policy: Callable[[str, dict[str, Any], str], None]
) -> None:
    """As an API server without the feature does it: the field is not there any more, and nobody says a word."""
    mutation = {"patchType": "JSONPatch", "jsonPatch": {"expression": '[JSONPatch{op: "remove", path: "/spec/hostUsers"}]'}}
    spec = {
        "reinvocationPolicy": "Never",
        "matchConditions": [{"name": "asked", "expression": "has(object.spec.hostUsers)"}],
        "mutations": [mutation],
    }
    policy("MutatingAdmissionPolicy", spec, "v1beta1")
    wait_for_policy(other, applies=lambda said: "hostUsers" not in said)

    other.kubectl("buildkit", "create", "named", AMD64, "--security=userns").failed(4, "drops hostUsers", "--security auto")
    assert other.objects() == set()
    result = other.kubectl("build", context({"Dockerfile": "FROM busybox\nRUN true\n"}), AMD64, "--progress=plain").ok()

    assert "not userns: the API server does not know user namespaces: it drops hostUsers" in result.stderr
    assert levels(other, "buildkit") == "rootless"


# how it is given up

START = f"""\
#!/bin/sh
grep -q {INITIAL_MAP} /proc/self/uid_map || {{ echo "mount /sys: operation not permitted"; exit 1; }}
exec buildkitd "$@"
"""


@pytest.fixture(scope="module")
def picky(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BuildKit image that does not start in a user namespace, and has no rootless variant."""
    directory = tmp_path_factory.mktemp("picky")
    (directory / "start").write_text(START)
    (directory / "start").chmod(0o755)
    (directory / "Dockerfile").write_text('FROM moby/buildkit:v0.31.2\nCOPY start /usr/bin/start\nENTRYPOINT ["/usr/bin/start"]\n')
    name = f"{namespace.cluster.insecure_registry}/{namespace.repository('picky')}/buildkit:v1"
    output = f"--output=type=image,name={name},push=true,registry.insecure=true"
    namespace.kubectl("build", directory, "--builder=maker", AMD64, output).ok()
    namespace.kubectl("buildkit", "rm", "maker").ok()
    return name


def test_pod_that_cannot_start_goes_down_with_each_reason(other: Namespace, picky: str, context: Context) -> None:
    defaults = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kubectl-build-defaults"}}
    other.kubectl.apply({**defaults, "data": {"builder.yaml": json.dumps({"image": picky})}})

    result = other.kubectl("build", context({"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}), AMD64, "--progress=plain").ok()

    assert "pool amd64 cannot start with security userns: " in result.stderr
    assert "operation not permitted" in result.stderr
    assert "pool amd64 cannot start with security rootless: " in result.stderr
    assert "cannot be pulled" in result.stderr
    assert "security of pool amd64: privileged, for want of a safer one" in result.stderr
    assert levels(other, "buildkit") == "privileged"


def test_create_with_bootstrap_goes_down_too(other: Namespace, picky: str) -> None:
    result = other.kubectl("buildkit", "create", "b", AMD64, f"--image={picky}", "--bootstrap").ok()

    assert "pool amd64 cannot start with security userns: " in result.stderr
    assert levels(other, "b") == "privileged"
    assert "unchanged" in other.kubectl("buildkit", "create", "b", AMD64, f"--image={picky}").ok().stdout


def test_level_asked_for_by_name_never_changes(other: Namespace, picky: str) -> None:
    result = other.kubectl("buildkit", "create", "b", AMD64, f"--image={picky}", "--security=userns", "--bootstrap")

    result.failed(4, 'builder "b" cannot be started', "operation not permitted")
    assert result.seconds < 30
    assert "privileged" not in result.stderr


def test_emulators_are_not_installed_in_a_user_namespace(other: Namespace) -> None:
    other.kubectl("buildkit", "create", "b", AMD64, "--security=userns", "--qemu-install").failed(
        2, "emulators that are registered in a user namespace", "--security auto"
    )
    assert other.objects() == set()
