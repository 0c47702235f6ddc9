"""du and prune on a builder with two pools: every pod is asked, and what was deleted is gone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kubectl import Namespace

BOTH = "--platform=linux/amd64,linux/arm64"
PODS = ["buildkit-amd64-0", "buildkit-arm64-0"]
DOCKERFILE = "FROM busybox\nRUN --mount=type=cache,target=/c,id=kept echo 1 > /c/x && head -c 300000 /dev/urandom > /big\n"

Context = Callable[..., Path]


def usage(namespace: Namespace, *flags: str) -> dict[str, dict[str, Any]]:
    """What `du` says of each pod, by name."""
    return {pod["name"]: pod for pod in namespace.kubectl("buildkit", "du", "-o", "json", *flags).json()["pods"]}


@pytest.fixture(scope="module")
def built(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Namespace:
    """The namespace with a builder that has built for two architectures."""
    tree = tmp_path_factory.mktemp("context")
    (tree / "Dockerfile").write_text(DOCKERFILE)
    namespace.kubectl("build", tree, BOTH).ok()
    return namespace


def daemon_of(namespace: Namespace, pod: str) -> int:
    """The process of a pod's daemon on this machine, which is the cluster's node too."""
    uid = namespace.kubectl("get", "pod", pod, "-o", "jsonpath={.metadata.uid}").ok().stdout.replace("-", "_")
    for entry in filter(lambda entry: entry.name.isdigit(), Path("/proc").iterdir()):
        with suppress(OSError):
            ours = uid in (entry / "cgroup").read_text().replace("-", "_")
            if ours and (entry / "cmdline").read_bytes().split(b"\0")[0].endswith(b"buildkitd"):
                return int(entry.name)
    pytest.fail(f"no buildkitd in pod {pod}")


def test_du_lists_every_pod_of_every_pool(built: Namespace) -> None:
    found = usage(built)
    assert list(found) == PODS
    for name, pod in found.items():
        assert pod["node"], name
        assert pod["totals"]["total"] >= 300_000
        assert pod["totals"]["total"] == sum(record["size"] for record in pod["records"])
    said = built.kubectl("buildkit", "du").ok().stdout
    assert said.splitlines()[0].split() == ["ID", "RECLAIMABLE", "SIZE", "LAST", "ACCESSED", "POD"]
    assert all(name in said for name in PODS)
    assert "\nReclaimable: " in said
    assert "\nTotal: " in said


def test_du_says_the_same_as_the_daemons_own_client(built: Namespace) -> None:
    for name, pod in usage(built).items():
        said = built.kubectl("exec", name, "-c", "buildkitd", "--", "buildctl", "du", "--format", "{{json .}}").ok().stdout
        assert all(record["id"] in said for record in pod["records"])


@pytest.mark.parametrize(("flag", "kept"), [("type=exec.cachemount", {"exec.cachemount"}), ("type=frontend", set())])
def test_du_filter_goes_to_every_pod(built: Namespace, flag: str, kept: set[str]) -> None:
    for pod in usage(built, "--filter", flag).values():
        assert {record["type"] for record in pod["records"]} == kept


def test_du_filters_of_what_is_or_is_not_split_the_list(built: Namespace) -> None:
    every = {record["id"] for pod in usage(built).values() for record in pod["records"]}
    parts = [usage(built, "--filter", flag) for flag in ("mutable=true", "mutable=false")]
    mutable, immutable = ({record["id"] for pod in part.values() for record in pod["records"]} for part in parts)
    assert mutable
    assert immutable
    assert mutable | immutable == every
    assert not mutable & immutable


def test_du_of_one_pod_by_its_address_lists_that_pod_alone(built: Namespace) -> None:
    found = usage(built, "--builder", f"kube-pod://{PODS[0]}?namespace={built.name}&container=buildkitd")
    assert list(found) == PODS[:1]
    assert found[PODS[0]]["totals"]["total"] >= 300_000


def test_du_needs_no_more_than_to_list_pods_and_to_exec(built: Namespace) -> None:
    rules = [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"]},
    ]
    api = "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": {"name": "bare"}, "rules": rules}
    subject = {"apiGroup": api, "kind": "User", "name": "bare"}
    reference = {"apiGroup": api, "kind": "Role", "name": "bare"}
    binding = {"apiVersion": f"{api}/v1", "kind": "RoleBinding", "metadata": {"name": "bare"}, "roleRef": reference, "subjects": [subject]}
    built.kubectl.apply(role, binding)
    assert list(usage(built, "--as=bare")) == PODS


def test_prune_without_a_terminal_needs_force(built: Namespace) -> None:
    before = usage(built)
    built.kubectl("buildkit", "prune").failed(2, "--force")
    assert {name: len(pod["records"]) for name, pod in usage(built).items()} == {name: len(pod["records"]) for name, pod in before.items()}


def test_prune_by_filter_deletes_that_in_every_pod_and_nothing_else(built: Namespace) -> None:
    before, wanted = usage(built), "--filter=type=exec.cachemount"
    mounts = {name: {record["id"] for record in pod["records"]} for name, pod in usage(built, wanted).items()}
    assert all(mounts.values())
    done = built.kubectl("buildkit", "prune", "--force", wanted, "-o", "json").json()
    assert {pod["name"]: {record["id"] for record in pod["records"]} for pod in done["pods"]} == mounts
    after = usage(built)
    for name in PODS:
        ids = [{record["id"] for record in found[name]["records"]} for found in (before, after)]
        assert ids[1] == ids[0] - mounts[name]


def test_pod_that_is_frozen_is_told_when_the_others_are_done(built: Namespace) -> None:
    """The daemon of arm64 is stopped by a signal for as long as the command runs."""
    daemon = daemon_of(built, PODS[1])
    os.kill(daemon, signal.SIGSTOP)
    try:
        result = built.kubectl("buildkit", "du", timeout=60)
    finally:
        os.kill(daemon, signal.SIGCONT)
    result.failed(4, "1 of 2 pods", PODS[1])
    assert PODS[0] in result.stdout
    assert result.seconds < 20, str(result)


def test_prune_all_leaves_nothing_that_can_be_deleted(built: Namespace) -> None:
    said = built.kubectl("buildkit", "prune", "--force", "--all").ok().stdout
    assert "Total: " in said
    for pod in usage(built).values():
        assert pod["totals"]["reclaimable"] == 0


def test_builder_without_pods_or_of_another_name_is_said(built: Namespace) -> None:
    built.kubectl("buildkit", "du", "--builder=nobody").failed(4, '"nobody"')
    built.kubectl("buildkit", "prune", "-f", "--builder=tcp://127.0.0.1:1").failed(5, "127.0.0.1:1")
