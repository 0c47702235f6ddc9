"""--check and --call on a cluster: the answer alone on stdout, the frontend's exit code, and nothing built or pushed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.kubectl import Namespace
from tests.e2e.registry import Registry

CLEAN = "FROM busybox\nARG version=1\nRUN echo must not run\n"
WARNED = "FROM busybox as Base\nRUN echo must not run\nCMD echo hello\n"
STAGES = "FROM busybox AS base\n# tests are run by it\nFROM base AS tests\nRUN echo must not run\nFROM base\nARG flavour=plain\n"
PLATFORMS = "--platform=linux/amd64,linux/arm64"

Context = Callable[..., Path]


def test_check_of_a_clean_dockerfile_says_so_and_exits_0(namespace: Namespace, context: Context) -> None:
    result = namespace.kubectl("build", "--check", context({"Dockerfile": CLEAN})).ok()

    assert result.stdout == "Check complete, no warnings found.\n"
    assert "must not run" not in result.stderr


def test_check_prints_warnings_with_their_lines_and_exits_1(namespace: Namespace, context: Context, registry: Registry) -> None:
    repository = namespace.repository("checked")
    name = f"{namespace.cluster.registry}/{repository}:v1"
    root = context({"Dockerfile": WARNED})

    result = namespace.kubectl("build", "--check", ".", PLATFORMS, "-t", name, "--push", "--registry-secret=my-secret", cwd=root)

    assert result.code == 1, result
    assert result.stdout.startswith("Check complete, 3 warnings have been found!\n\nWARNING: ")
    assert "\nDockerfile:3\n--------------------\n   1 |     FROM busybox as Base\n" in result.stdout
    assert "   3 | >>> CMD echo hello\n" in result.stdout
    assert "must not run" not in result.stderr
    assert "pushed" not in result.stderr
    assert registry.tags(repository) == []


def test_check_whose_status_is_ignored_exits_0(namespace: Namespace, context: Context) -> None:
    result = namespace.kubectl("build", "--call=check,ignorestatus=true", context({"Dockerfile": WARNED})).ok()

    assert "3 warnings have been found!" in result.stdout


def test_check_in_json_is_one_document_on_stdout(namespace: Namespace, context: Context) -> None:
    result = namespace.kubectl("build", "--call=check,format=json", context({"Dockerfile": WARNED}))

    assert result.code == 1, result
    rules = {warning["ruleName"] for warning in json.loads(result.stdout)["warnings"]}
    assert rules == {"FromAsCasing", "StageNameCasing", "JSONArgsRecommended"}


def test_check_of_a_dockerfile_that_cannot_be_built_tells_the_place_and_exits_1(namespace: Namespace, context: Context) -> None:
    result = namespace.kubectl("build", "--check", context({"Dockerfile": "FROM busybox\nCOPPY a b\n"}))

    result.failed(1, "unknown instruction: COPPY", ">>> COPPY a b")
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("outline", ["BUILD ARG   VALUE   DESCRIPTION", "flavour     plain   "]),
        ("targets", ["TARGET    DESCRIPTION", "base      ", "tests     are run by it", "(default) "]),
    ],
)
def test_call_prints_its_table(namespace: Namespace, context: Context, call: str, expected: list[str]) -> None:
    result = namespace.kubectl("build", f"--call={call}", context({"Dockerfile": STAGES})).ok()

    assert [line for line in result.stdout.split("\n") if line] == expected


def test_call_is_not_in_the_builders_history(namespace: Namespace, context: Context) -> None:
    namespace.kubectl("build", "--call=targets", context({"Dockerfile": STAGES})).ok()
    namespace.kubectl("build", "--check", context({"Dockerfile": CLEAN}, "other")).ok()

    assert namespace.history("buildkit-amd64-0") == []


def test_call_that_the_frontend_does_not_know_is_told_in_words(namespace: Namespace, context: Context) -> None:
    result = namespace.kubectl("build", "--call=poem", context({"Dockerfile": CLEAN}))

    result.failed(1, "does not know the request frontend.poem", "--call=subrequests.describe")


def test_call_of_a_frontend_that_is_an_image_is_answered_by_it(namespace: Namespace, context: Context) -> None:
    result = namespace.kubectl("build", "--check", context({"Dockerfile": f"# syntax=docker/dockerfile:1\n{WARNED}"}))

    assert result.code == 1, result
    assert "3 warnings have been found!" in result.stdout
    assert "resolve image config for docker-image://docker.io/docker/dockerfile:1" in result.stderr
