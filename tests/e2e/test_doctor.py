"""doctor on the real cluster: a builder that is well, and what it finds where something is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kubectl import Namespace, Result

BOTH = "--platform=linux/amd64,linux/arm64"
ENFORCE = "pod-security.kubernetes.io/enforce"
SECONDS = 20.0

Findings = dict[str, list[dict[str, str]]]


def findings(result: Result, code: int = 0) -> Findings:
    """The findings by check. The exit code and the time are asserted."""
    assert result.code == code, str(result)
    assert result.seconds < SECONDS, str(result)
    assert "Traceback" not in result.stderr, str(result)
    document: dict[str, Any] = Result(command=result.command, code=0, stdout=result.stdout, stderr="", seconds=0).json()
    assert document["preventsBuilding"] == (code == 1)
    found: Findings = {}
    for finding in document["findings"]:
        found.setdefault(finding["check"], []).append(finding)
    return found


def of_level(found: Findings, level: str) -> list[dict[str, str]]:
    """All findings of one level."""
    return [finding for check in found.values() for finding in check if finding["level"] == level]


@pytest.fixture(scope="module")
def built(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Namespace, str, str]:
    """The namespace with a builder of two pools, and two images that it has pushed: for both architectures, for amd64 alone."""
    tree = tmp_path_factory.mktemp("context")
    (tree / "Dockerfile").write_text("FROM busybox\nRUN true\n")
    names = [f"{namespace.cluster.registry}/{namespace.repository('doctor')}:v1" for _ in range(2)]
    for name, platform in zip(names, (BOTH, "--platform=linux/amd64"), strict=True):
        namespace.kubectl("build", tree, platform, "-t", name, "--push", "--registry-secret=my-secret").ok()
    return namespace, names[0], names[1]


def test_builder_that_is_well_has_no_problem(built: tuple[Namespace, str, str]) -> None:
    namespace, both, _ = built
    found = findings(namespace.kubectl("buildkit", "doctor", "--image", both, "--registry-secret=my-secret", "-o", "json"))
    assert of_level(found, "problem") == []
    words = {check: " ".join(finding["finding"] for finding in several) for check, several in found.items()}
    assert "amd64" in words["nodes"]
    assert "arm64" in words["nodes"]
    assert "1 of 1 pods ready" in words["pods"]
    assert words["daemons"].startswith("buildkitd v0.")
    assert "free on node" in words["disks"]
    assert "agree" in words["clocks"]
    assert 'from secret "my-secret"' in words["registries"]
    assert "from the builder's pod" in words["registries"]
    assert "every node runs it" in words["registries"]


def test_doctor_for_people_has_a_line_for_each_finding_and_a_last_word(built: tuple[Namespace, str, str]) -> None:
    namespace, both, _ = built
    said = namespace.kubectl("buildkit", "doctor", "--image", both, "--registry-secret=my-secret").ok()
    assert any(line.startswith("ok       Kubernetes v") for line in said.stdout.splitlines())
    assert "nothing prevents building" in said.stderr


def test_image_that_lacks_an_architecture_names_the_nodes_and_the_build(built: tuple[Namespace, str, str]) -> None:
    namespace, _, narrow = built
    found = findings(namespace.kubectl("buildkit", "doctor", "--image", narrow, "--registry-secret=my-secret", "-o", "json"))
    (told,) = [finding for finding in found["registries"] if "does not run on" in finding["finding"]]
    assert "(linux/arm64)" in told["finding"]
    assert "--platform=linux/amd64,linux/arm64" in told["command"]


def test_last_build_names_the_image_where_none_is_named(built: tuple[Namespace, str, str]) -> None:
    namespace, _, narrow = built
    found = findings(namespace.kubectl("buildkit", "doctor", "--registry-secret=my-secret", "-o", "json"))
    assert any(narrow in finding["finding"] for finding in found["registries"])


def test_wrong_password_is_a_problem_that_names_its_secret(built: tuple[Namespace, str, str]) -> None:
    namespace, both, _ = built
    wrong = namespace.secret("wrong-secret", password="not-the-password")
    result = namespace.kubectl("buildkit", "doctor", "--image", both, f"--registry-secret={wrong}", "-o", "json")
    (told,) = of_level(findings(result, 1), "problem")
    assert 'from secret "wrong-secret"' in told["finding"]
    assert "create secret docker-registry wrong-secret" in told["command"]
    assert "not-the-password" not in result.stdout + result.stderr


def test_no_password_is_a_problem_with_the_command_that_makes_a_secret(built: tuple[Namespace, str, str]) -> None:
    namespace, both, _ = built
    (told,) = of_level(findings(namespace.kubectl("buildkit", "doctor", "--image", both, "-o", "json"), 1), "problem")
    assert "wants a login" in told["finding"]
    assert "kubectl create secret docker-registry buildkit" in told["command"]


def test_registry_that_is_down_is_a_problem_told_in_time(built: tuple[Namespace, str, str]) -> None:
    namespace, _, _ = built
    (told,) = of_level(findings(namespace.kubectl("buildkit", "doctor", "--image", "127.0.0.1:1/app:v1", "-o", "json"), 1), "problem")
    assert "127.0.0.1:1" in told["finding"]


def test_user_without_rights_is_told_each_and_the_role_that_has_them(built: tuple[Namespace, str, str]) -> None:
    namespace, _, _ = built
    found = findings(namespace.kubectl("buildkit", "doctor", "--as=nobody", "-o", "json"), 1)
    problems = [finding["finding"] for finding in of_level(found, "problem")]
    assert f'you may not list pods in namespace "{namespace.name}"' in problems
    assert f'you may not get pods/exec in namespace "{namespace.name}"' in problems
    assert all("--user=nobody" in finding["command"] for finding in found["rights"])
    assert any("may not list nodes" in finding["finding"] for finding in found["nodes"])


def test_command_of_a_missing_right_helps_when_an_admin_types_it(built: tuple[Namespace, str, str]) -> None:
    namespace, _, _ = built
    manifests = Path(__file__).parents[2] / "manifests"
    namespace.kubectl("apply", "-n", namespace.name, "-f", manifests / "rbac-build.yaml").ok()
    found = findings(namespace.kubectl("buildkit", "doctor", "--as=helped", "-o", "json"), 1)
    (command,) = {finding["command"] for finding in found["rights"] if finding["level"] == "problem"}
    namespace.kubectl.shell(command).ok()
    assert of_level(findings(namespace.kubectl("buildkit", "doctor", "--as=helped", "-o", "json")), "problem") == []


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_namespace_that_admits_no_builder_is_a_problem_until_its_command_is_typed(
    make_namespace: Callable[[str], Namespace], level: str
) -> None:
    namespace = make_namespace(f"doctor-{level}")
    namespace.kubectl("label", "namespace", namespace.name, f"{ENFORCE}={level}").ok()
    (told,) = of_level(findings(namespace.kubectl("buildkit", "doctor", "-o", "json"), 1), "problem")
    assert level in told["finding"]
    namespace.kubectl.shell(told["command"]).ok()
    assert of_level(findings(namespace.kubectl("buildkit", "doctor", "-o", "json")), "problem") == []


def test_image_that_cannot_be_pulled_is_explained(make_namespace: Callable[[str], Namespace]) -> None:
    namespace = make_namespace("doctor-pull")
    namespace.kubectl("buildkit", "create", "--platform=linux/amd64", f"--image={namespace.cluster.registry}/none:v1").ok()
    namespace.kubectl("wait", "pod/buildkit-amd64-0", "--for=jsonpath={.status.phase}=Pending", "--timeout=30s")
    waiting = "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=ImagePullBackOff"
    namespace.kubectl("wait", "pod/buildkit-amd64-0", waiting, "--timeout=60s").ok()
    (told,) = of_level(findings(namespace.kubectl("buildkit", "doctor", "-o", "json"), 1), "problem")
    assert "none:v1" in told["finding"]
    assert told["command"].startswith("kubectl ")


def test_pod_by_its_address_is_examined_without_its_builder(built: tuple[Namespace, str, str]) -> None:
    namespace, both, _ = built
    address = f"kube-pod://buildkit-amd64-0?namespace={namespace.name}&container=buildkitd"
    flags = "--image", both, "--registry-secret=my-secret", "-o", "json"
    found = findings(namespace.kubectl("buildkit", "doctor", address, *flags))
    assert {"api server", "rights", "daemons", "disks", "registries"} <= set(found)
    assert "pods" not in found
    assert "from the builder's pod" in found["registries"][0]["finding"]


def test_namespace_and_cluster_that_are_not_there_are_problems(namespace: Namespace) -> None:
    (told,) = of_level(findings(namespace.kubectl("buildkit", "doctor", "-n", "nowhere", "-o", "json"), 1), "problem")
    assert told["command"] == "kubectl create namespace nowhere"
    found = findings(namespace.kubectl("buildkit", "doctor", "--server=https://127.0.0.1:1", "-o", "json"), 1)
    assert set(found) == {"api server", "proxies"}
