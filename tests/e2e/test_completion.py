"""Completion through the real kubectl: `kubectl __complete`, which the scripts of `kubectl completion` run, asks our programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.kubectl import Kubectl, Namespace

PATIENT = {"KUBECTL_BUILD_DEADLINES": "completion=20s"}
"""The product's own deadline is for people; this machine may have other things to do."""


def ask(kubectl: Kubectl, *words: str) -> tuple[dict[str, str], int]:
    """The candidates with their descriptions, and the directive."""
    said = kubectl.with_env(**PATIENT)("__complete", *words).ok()
    *candidates, directive = said.stdout.splitlines()
    debug = ("[Debug]", "Completion ended with directive:")
    assert [line for line in said.stderr.splitlines() if not line.startswith(debug)] == [], str(said)
    return dict(line.partition("\t")[::2] for line in candidates), int(directive.removeprefix(":"))


def test_flags_and_commands_are_completed(namespace: Namespace) -> None:
    flags, directive = ask(namespace.kubectl, "build", "--plat")
    assert (list(flags), directive) == (["--platform"], 4)
    commands, _ = ask(namespace.kubectl, "buildkit", "")
    assert {"build", "create", "ls", "rm", "history"} <= set(commands)
    assert set(ask(namespace.kubectl, "buildkit", "history", "")[0]) >= {"ls", "inspect", "logs", "rm", "export"}


def test_flags_of_kubectl_itself_are_completed_by_the_plugin(namespace: Namespace) -> None:
    namespaces, _ = ask(namespace.kubectl, "build", "--namespace", "kube-s")
    assert list(namespaces) == ["kube-system"]
    contexts, _ = ask(namespace.kubectl, "build", "--context", "")
    assert list(contexts.values()) == ["the current one"]


def test_platforms_of_the_nodes_come_first(namespace: Namespace) -> None:
    platforms, directive = ask(namespace.kubectl, "build", "--platform", "")
    assert dict(list(platforms.items())[:3]) == {"linux/amd64": "a node has it", "linux/arm64": "a node has it", "linux/arm/v7": ""}
    assert directive == 2 | 4 | 32
    assert "linux/arm64,linux/amd64" in ask(namespace.kubectl, "build", "--platform=linux/arm64,")[0]


def test_builders_are_those_of_the_namespace(namespace: Namespace) -> None:
    kubectl = namespace.kubectl
    kubectl("buildkit", "create", "team", "--platform=linux/amd64,linux/arm64").ok()
    assert ask(kubectl, "build", "--builder", "")[0] == {"team": "amd64, arm64"}
    for command in ("rm", "inspect", "use", "stop", "doctor"):
        assert list(ask(kubectl, "buildkit", command, "t")[0]) == ["team"]
    assert list(ask(kubectl, "buildkit", "rm", "--force", "t")[0]) == ["team"]
    assert ask(kubectl, "buildkit", "rm", "--force", "team", "t")[0] == {}
    assert ask(kubectl, "build", "-n", "kube-system", "--builder", "")[0] == {}


def test_registry_secrets_are_those_of_a_registrys_type(namespace: Namespace) -> None:
    namespace.kubectl("create", "secret", "generic", "my-other", "--from-literal=a=b").ok()
    assert ask(namespace.kubectl, "build", "--registry-secret", "")[0] == {"my-secret": ""}


@pytest.mark.parametrize("place", [".", "-f Dockerfile ."])
def test_stages_are_read_from_the_dockerfile(namespace: Namespace, checkout: Path, place: str) -> None:
    (checkout / "Dockerfile").write_text("FROM busybox AS tools\nFROM scratch AS program\n")
    said = namespace.kubectl("__complete", "build", *place.split(), "--target", "", cwd=checkout).ok()
    assert said.stdout.splitlines() == ["tools\tfrom busybox", "program\tfrom scratch", ":4"]


def test_user_without_rights_gets_what_is_known_here(namespace: Namespace) -> None:
    nobody = "--as=nobody"
    assert ask(namespace.kubectl, "build", nobody, "--registry-secret", "") == ({}, 4)
    assert "linux/arm64" in ask(namespace.kubectl, "build", nobody, "--platform", "")[0]
    assert ask(namespace.kubectl, "build", nobody, "--builder", "") == ({}, 4)
