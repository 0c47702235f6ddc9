"""history and ps on a builder with two pools: every pod's builds, each replayed, exported and deleted; and who builds just now."""

from __future__ import annotations

import json
import os
import signal
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.kubectl import Namespace, Running
from tests.e2e.users import add_users, as_user

BOTH = "--platform=linux/amd64,linux/arm64"
PODS = {"buildkit-amd64-0", "buildkit-arm64-0"}
MINIMUM = ("list pods", "get pods/exec", "create pods/exec")
_SEEN_SECONDS = 60.0

Context = Callable[..., Path]


@pytest.fixture(scope="module")
def built(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Namespace:
    """The namespace with a builder that has built for two pools, and has failed once."""
    tree = tmp_path_factory.mktemp("context")
    (tree / "Dockerfile").write_text("FROM busybox AS base\nRUN echo hello from $(uname -m)\nFROM base AS bad\nRUN echo oh no && exit 3\n")
    namespace.kubectl("build", tree, BOTH, "--target=base", "--build-arg=NPM_TOKEN=hidden").ok()
    namespace.kubectl("build", tree, "--platform=linux/amd64", "--target=bad").failed(1)
    return namespace


def builds(namespace: Namespace, *flags: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = namespace.kubectl("buildkit", "history", "ls", "-o", "json", *flags).json()["builds"]
    return found


def test_history_lists_the_builds_of_every_pod_the_newest_first(built: Namespace) -> None:
    found = builds(built)
    assert [(one["name"], one["status"]) for one in found] == [("bad", "error"), ("base", "completed"), ("base", "completed")]
    assert {one["pod"] for one in found} == PODS
    for pod in PODS:
        theirs = {record["Ref"] for record in built.history(pod)}
        assert {one["ref"] for one in found if one["pod"] == pod} == theirs
    header, *rows = built.kubectl("buildkit", "history", "ls").ok().stdout.splitlines()
    assert header.split() == ["BUILD", "ID", "NAME", "STATUS", "CREATED", "AT", "DURATION", "POD"]
    assert len(rows) == 3
    lines = [json.loads(line) for line in built.kubectl("buildkit", "history", "ls", "--format=json").ok().stdout.splitlines()]
    assert [line["ref"].rpartition("/")[2] for line in lines] == [one["ref"] for one in found]


def test_history_filters_by_status_and_time(built: Namespace) -> None:
    assert [one["name"] for one in builds(built, "--filter", "status=error")] == ["bad"]
    assert builds(built, "--filter", "startedAt<24h") == []
    built.kubectl("buildkit", "history", "ls", "--filter", "colour=red").failed(2, "colour=red", "filters are")


def test_history_inspect_tells_what_was_asked_and_masks_what_looks_secret(built: Namespace) -> None:
    failed, done, _ = builds(built)
    said = built.kubectl("buildkit", "history", "inspect", done["ref"][:10]).ok().stdout
    assert "hidden" not in said
    assert "NPM_TOKEN" in said
    assert "https://slsa.dev/provenance" in said
    document = built.kubectl("buildkit", "history", "inspect", "^0", "-o", "json").json()
    assert (document["ref"], document["status"]) == (failed["ref"], "error")
    assert "exit code: 3" in document["error"]


def test_history_and_ps_have_the_forms_of_kubectl(built: Namespace) -> None:
    refs = [one["ref"] for one in builds(built)]
    assert built.kubectl("buildkit", "history", "ls", "-o", "name").ok().stdout.split() == refs
    assert yaml.safe_load(built.kubectl("buildkit", "history", "inspect", refs[0], "-o", "yaml").ok().stdout)["ref"] == refs[0]
    wide = built.kubectl("buildkit", "history", "ls", "-o", "wide").ok().stdout.splitlines()
    assert wide[0].split()[-3:] == ["NODE", "PLATFORMS", "STEPS"]
    assert yaml.safe_load(built.kubectl("buildkit", "ps", "-o", "yaml").ok().stdout) == {"builds": []}


def test_history_logs_say_again_what_the_build_said(built: Namespace) -> None:
    said = built.kubectl("buildkit", "history", "logs").ok().stdout
    assert "oh no" in said
    assert "ERROR" in said
    arm64 = next(one for one in builds(built) if one["pod"] == "buildkit-arm64-0")
    lines = built.kubectl("buildkit", "history", "logs", arm64["ref"], "--progress=rawjson").ok().stdout.splitlines()
    assert any("RUN echo hello" in vertex["name"] for line in lines for vertex in json.loads(line).get("vertexes", ()))


def test_history_export_is_a_layout_with_each_builds_record_and_log(built: Namespace, tmp_path: Path) -> None:
    file = tmp_path / "all.dockerbuild"
    built.kubectl("buildkit", "history", "export", "--all", "-o", file).ok()
    with tarfile.open(file, "r:gz") as tar:
        files = {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]  # all are files

    def document(descriptor: dict[str, Any]) -> Any:
        return json.loads(files["blobs/" + descriptor["digest"].replace(":", "/")])

    (top,) = json.loads(files["index.json"])["manifests"]
    manifests = [document(item) for item in document(top)["manifests"]]
    assert {document(manifest["config"])["Ref"] for manifest in manifests} == {one["ref"] for one in builds(built)}
    for manifest in manifests:
        assert manifest["layers"]
        assert all("blobs/" + layer["digest"].replace(":", "/") in files for layer in manifest["layers"])


def test_history_of_a_user_who_may_list_pods_and_exec_is_whole(built: Namespace, tmp_path: Path) -> None:
    add_users(built, {"minimum": MINIMUM})
    user = as_user(built, "minimum", tmp_path, having=("create pods/exec",))
    assert len(user("buildkit", "history", "ls", "-o", "json").json()["builds"]) == len(builds(built))
    said = user("buildkit", "ps", "-o", "json").ok()
    assert json.loads(said.stdout) == {"builds": []}
    assert said.stderr.count("you may not list leases") == 1


def test_history_ref_that_is_not_there_is_told(built: Namespace) -> None:
    built.kubectl("buildkit", "history", "inspect", "nosuch").failed(2, 'there is no build "nosuch"', "history ls")
    built.kubectl("buildkit", "history", "rm").failed(2, "build IDs or --all")
    built.kubectl("buildkit", "history", "ls", "--builder=none").failed(4, 'no builder "none"')


@pytest.fixture
def sleeping(built: Namespace, context: Context) -> Iterator[Running]:
    """A build that goes on until the test is over."""
    running = built.kubectl.start("build", context({"Dockerfile": "FROM busybox\nRUN sleep 170\n"}, "sleeper"), "--platform=linux/amd64")
    yield running
    os.killpg(running.process.pid, signal.SIGINT)
    assert running.wait(30).code == 130


def test_ps_tells_who_builds_what_where_and_since_when(built: Namespace, sleeping: Running) -> None:
    def look() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = built.kubectl("buildkit", "ps", "-o", "json").json()["builds"]
        return found

    until = time.monotonic() + _SEEN_SECONDS
    found = look()
    while not (found and found[0]["ref"] and found[0]["holder"]):
        assert time.monotonic() < until, found
        found = look()
    (build,) = found
    assert (build["builder"], build["pod"], build["platforms"]) == ("buildkit", "buildkit-amd64-0", ["linux/amd64"])
    assert build["context"] == "sleeper"
    assert "@" in build["holder"]
    assert build["ref"] in {one["ref"] for one in builds(built, "--filter", "status=running")}
    header, row = built.kubectl("buildkit", "ps", "--all-namespaces").ok().stdout.splitlines()[:2]
    assert header.split() == ["NAMESPACE", "BUILDER", "POD", "PLATFORMS", "WHO", "CONTEXT", "SINCE", "BUILD", "ID"]
    assert row
    built.kubectl("buildkit", "history", "rm", build["ref"]).failed(2, "runs and cannot be deleted")


def test_ps_where_nobody_builds_says_so(make_namespace: Callable[[str], Namespace]) -> None:
    said = make_namespace("ps").kubectl("buildkit", "ps").ok()
    assert (said.stdout, said.stderr.strip()) == ("", "nobody builds")


def test_history_rm_forgets_one_build_and_then_all(built: Namespace) -> None:
    before = builds(built, "--filter", "status!=running")
    built.kubectl("buildkit", "history", "rm", before[0]["ref"]).ok()
    assert [one["ref"] for one in builds(built, "--filter", "status!=running")] == [one["ref"] for one in before[1:]]
    removed = built.kubectl("buildkit", "history", "rm", "--all").ok().stdout.split()
    assert set(removed) == {one["ref"] for one in before[1:]}
    assert builds(built, "--filter", "status!=running") == []
