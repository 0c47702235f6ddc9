"""What doctor finds: of a builder that is well, and of each thing that can be wrong with it."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from kubectl_build.builder.roles import build_role, create_role, nodes_role
from kubectl_build.builder.spec import BuilderSpec
from kubectl_build.builder.volume import CacheVolume
from kubectl_build.cluster.client import NAMESPACES, NODES, PODS, SECRETS, STATEFULSETS
from kubectl_build.doctor import examine as examination
from kubectl_build.doctor.access import clock_findings
from kubectl_build.doctor.examine import examine, prevents_building
from kubectl_build.doctor.finding import Finding, Level, command_of, ok
from kubectl_build.doctor.patient import Patient
from kubectl_build.doctor.rights import RIGHTS, Need
from kubectl_build.doctor.vitals import read_beside
from kubectl_build.errors import ClusterError
from kubectl_build.model.digest import MEDIA_TYPE_INDEX
from tests.fakes.daemon import FakeDaemon
from tests.unit.doctor.conftest import Ward, node, problems
from tests.unit.registry.fake import PASSWORD, USER, FakeRegistry, serve

MakeDaemon = Callable[..., Awaitable[FakeDaemon]]


def only(findings: tuple[Finding, ...], level: Level) -> Finding:
    """The one finding of a level."""
    (found,) = [finding for finding in findings if finding.level is level]
    return found


async def test_builder_that_is_well_has_no_problem_and_every_check_says_so(ward: Ward, daemon: MakeDaemon) -> None:
    await daemon()
    found = await ward.examined()
    assert problems(found) == []
    checks = ["context", "api server", "rights", "namespace", "nodes", "pods", "daemons", "emulators", "clocks", "disks", "registries"]
    assert list(found) == [*checks, "proxies"]
    assert found["nodes"][0] == ok("nodes that take builders: 1 of amd64, 1 of arm64")
    assert found["daemons"] == (ok("buildkitd v0.31.2"),)
    assert found["emulators"] == (ok("buildkit-amd64-0 (linux/amd64) has emulators for arm64"),)
    assert found["disks"][0].what.endswith("51.2GB of 102.4GB free on node node-amd64")


async def test_builder_that_is_not_there_is_a_note_with_the_command_that_makes_it(ward: Ward) -> None:
    found = await ward.examined("team")
    assert problems(found) == []
    assert only(found["pods"], Level.NOTE).command == "kubectl buildkit create team --bootstrap -n default"


async def test_api_server_that_refuses_the_login_is_the_only_thing_told(ward: Ward) -> None:
    ward.api.token = "another"
    found = await ward.examined()
    assert list(found) == ["api server", "proxies"]
    assert "was examined" in only(found["api server"], Level.PROBLEM).consequence


async def test_rights_that_building_needs_are_problems_with_the_role_that_has_them(ward: Ward, daemon: MakeDaemon) -> None:
    await daemon()
    ward.api.allowed = lambda asked: asked["subresource"] != "exec"
    found = await ward.examined()
    problem = only(found["rights"], Level.PROBLEM)
    assert problem.what == 'you may not get pods/exec in namespace "default"'
    assert problem.command == "kubectl create rolebinding kubectl-build -n default --role=kubectl-build --user=tester"


async def test_rights_to_create_are_a_problem_only_where_the_builder_is_missing(ward: Ward, daemon: MakeDaemon) -> None:
    ward.api.allowed = lambda asked: asked["verb"] not in ("create", "patch", "delete") or asked["subresource"] == "exec"
    alone = [finding for finding in (await ward.examined())["rights"] if finding.level is Level.PROBLEM]
    assert [finding.what for finding in alone] == [
        'you may not create, patch, delete configmaps in namespace "default"',
        'you may not create, patch, delete statefulsets.apps in namespace "default"',
    ]
    assert "--role=kubectl-buildkit" in alone[0].command
    await daemon()
    assert problems(await ward.examined()) == []


def test_rights_that_are_asked_for_are_those_of_the_roles() -> None:
    roles = {Need.CREATE: [create_role("b")], Need.BUILD: [build_role("b")], Need.MORE: [build_role("b"), nodes_role()]}
    for right in RIGHTS:
        rules = [rule for role in roles[right.need] for rule in role["rules"]]
        target = right.resource.plural + (f"/{right.subresource}" if right.subresource else "")
        fitting = [rule for rule in rules if right.resource.group in rule["apiGroups"] and target in rule["resources"]]
        granted = {verb for rule in fitting for verb in rule["verbs"] if right.builder_only or not rule.get("resourceNames")}
        assert set(right.verbs) <= granted, right


async def test_list_of_nodes_that_is_forbidden_does_not_stop_the_other_checks(ward: Ward, daemon: MakeDaemon) -> None:
    await daemon()
    ward.api.fail("GET", "/nodes", 403, reason="Forbidden")
    found = await ward.examined()
    assert "may not list nodes" in only(found["nodes"], Level.NOTE).what
    assert found["daemons"] == (ok("buildkitd v0.31.2"),)


@pytest.mark.parametrize("level", ["baseline", "restricted"])
async def test_namespace_that_admits_no_builder_is_a_problem_with_the_label_command(ward: Ward, level: str) -> None:
    ward.api.add(NAMESPACES, {"metadata": {"name": "default", "labels": {"pod-security.kubernetes.io/enforce": level}}})
    problem = only((await ward.examined())["namespace"], Level.PROBLEM)
    assert level in problem.what
    assert problem.command == "kubectl label namespace default pod-security.kubernetes.io/enforce=privileged --overwrite"


async def test_namespace_with_a_running_builder_and_a_new_label_is_a_note(ward: Ward, daemon: MakeDaemon) -> None:
    await daemon()
    ward.api.add(NAMESPACES, {"metadata": {"name": "default", "labels": {"pod-security.kubernetes.io/enforce": "baseline"}}})
    assert "pods that run stay" in only((await ward.examined())["namespace"], Level.NOTE).consequence


async def test_namespace_that_is_missing_is_a_problem(ward: Ward) -> None:
    ward.api.remove(NAMESPACES, "default")
    assert only((await ward.examined())["namespace"], Level.PROBLEM).command == "kubectl create namespace default"


async def test_nodes_that_take_no_builder_are_told_with_the_reason(ward: Ward) -> None:
    ward.api.add(NODES, node("node-amd64", "amd64", unschedulable=True))
    taint = {"key": "team", "value": "gpu", "effect": "NoSchedule"}
    ward.api.add(NODES, node("node-arm64", "arm64", taints=[taint]))
    found = (await ward.examined())["nodes"]
    assert only(found, Level.PROBLEM).what == "no node can take a builder"
    commands = {finding.command for finding in found[1:]}
    assert commands == {"kubectl uncordon node-amd64", "kubectl taint node node-arm64 team=gpu:NoSchedule-"}


async def test_node_that_runs_out_of_disk_or_lacks_user_namespaces_is_a_note(ward: Ward) -> None:
    ill = node("node-arm64", "arm64")
    ill["status"] = {"conditions": [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "True"}]}
    ward.api.add(NODES, ill)
    words = [finding.what for finding in (await ward.examined())["nodes"]]
    assert "node node-arm64 has DiskPressure" in words
    assert any("without user namespaces" in text and text.endswith("node-arm64") for text in words)


async def test_pod_that_does_not_start_is_explained(ward: Ward) -> None:
    pod = ward.builder(ready=False)
    pod["status"] = {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes are available"}],
    }
    ward.api.add(PODS, pod)
    found = await ward.examined()
    problem = only(found["pods"], Level.PROBLEM)
    assert "0/2 nodes are available" in problem.what
    assert problem.command.startswith("kubectl ")


async def test_pool_that_is_stopped_is_a_note(ward: Ward) -> None:
    pod = ward.builder()
    ward.api.remove(PODS, pod["metadata"]["name"])
    stopped = ward.api.find(STATEFULSETS, "buildkit-amd64")
    assert stopped is not None
    stopped["spec"]["replicas"] = 0
    found = await ward.examined()
    assert problems(found) == []
    assert "pool amd64 is stopped" in [finding.what for finding in found["pods"]]


@pytest.mark.parametrize(("level", "grave"), [("userns", Level.OK), ("rootless", Level.OK), ("privileged", Level.NOTE)])
async def test_security_of_the_pods_is_told(ward: Ward, level: str, grave: Level) -> None:
    ward.builder(spec=BuilderSpec(security=level))
    found = (await ward.examined())["pods"]
    assert [finding.level for finding in found if level in finding.what] == [grave]


async def test_daemon_that_was_killed_for_memory_is_told(ward: Ward, daemon: MakeDaemon) -> None:
    await daemon()
    pod = ward.api.find(PODS, "buildkit-amd64-0")
    assert pod is not None
    ended = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    pod["status"]["containerStatuses"] = [{"name": "buildkitd", "restartCount": 2, "lastState": ended}]
    (found,) = [finding for finding in (await ward.examined())["pods"] if "OOMKilled" in finding.what]
    assert "started again 2 times" in found.what
    assert "memory" in found.consequence


async def test_daemon_that_cannot_be_reached_is_a_problem_with_its_reason(ward: Ward) -> None:
    ward.builder()
    ward.api.fail("GET", "/exec", 403, reason="Forbidden", message="pods exec is forbidden")
    assert "forbidden" in only((await ward.examined())["daemons"], Level.PROBLEM).what


async def test_daemons_of_different_versions_are_told(ward: Ward, daemon: MakeDaemon) -> None:
    await daemon()
    await daemon(architecture="arm64", version="v0.29.0")
    words = [finding.what for finding in (await ward.examined())["daemons"]]
    assert "daemons have different versions: buildkit-amd64-0 v0.31.2, buildkit-arm64-0 v0.29.0" in words
    assert any("v0.29.0 is older" in text for text in words)


async def test_pod_without_emulators_names_the_flag_that_brings_them(ward: Ward, daemon: MakeDaemon) -> None:
    await daemon()
    ward.emulators = ()
    assert "--qemu-install" in only((await ward.examined())["emulators"], Level.NOTE).command


async def test_clock_of_a_pod_that_is_wrong_is_told_with_its_node(ward: Ward, daemon: MakeDaemon) -> None:
    await daemon()
    ward.skew = -90
    found = only((await ward.examined())["clocks"], Level.NOTE)
    assert "node-amd64" in found.what
    assert "behind" in found.what


@pytest.mark.parametrize(("offset", "words"), [(0, "agrees"), (-3, "agrees"), (60, "60 s behind"), (-61, "60 s ahead of")])
def test_clock_of_the_api_server_is_compared_with_ours(offset: int, words: str) -> None:
    now = 1_700_000_000.0
    (found,) = clock_findings(datetime.fromtimestamp(now + offset, UTC), now, now)
    assert words in found.what


async def test_disk_that_is_full_is_a_problem_and_nearly_full_a_note(ward: Ward, daemon: MakeDaemon) -> None:
    (await daemon()).entry("one", 2_000_000)
    ward.disk = (100_000_000, 10)
    full = only((await ward.examined())["disks"], Level.PROBLEM)
    assert "2MB" in full.what
    assert full.command == "kubectl buildkit prune --all --builder buildkit -n default"
    ward.disk = (100_000_000, 5_000_000)
    assert only((await ward.examined())["disks"], Level.NOTE).what.endswith("5.12GB of 102.4GB free on node node-amd64")


async def test_cache_that_fills_the_limit_of_its_volume_is_told(ward: Ward, daemon: MakeDaemon) -> None:
    ward.disk = (100_000_000, 90_000_000)
    (await daemon(spec=BuilderSpec(cache=CacheVolume(size="100Mi")))).entry("one", 99 << 20)
    assert "of the 104.9MB that its volume may have" in only((await ward.examined())["disks"], Level.NOTE).what


async def test_proxies_are_told_without_their_passwords(ward: Ward, daemon: MakeDaemon) -> None:
    await daemon()
    found = (await ward.examined(environ={"https_proxy": "http://me:secret@proxy:3128"}))["proxies"]
    assert "HTTPS_PROXY=http://proxy:3128" in found[0].what
    assert "no proxy in its environment" in found[1].what
    assert "--https-proxy" in found[1].command


async def test_check_that_hangs_ends_at_its_deadline_and_the_others_go_on(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_: Patient) -> list[Finding]:
        await asyncio.Event().wait()
        return []

    async def fail(_: Patient) -> list[Finding]:
        raise ClusterError("it broke", hint="kubectl get it")

    monkeypatch.setattr(examination, "_CLUSTER", {"hanging": hang, "failing": fail, "failing too": fail})
    monkeypatch.setattr(examination, "_DAEMONS", {})
    monkeypatch.setenv("KUBECTL_BUILD_DEADLINES", "examine=50ms")
    async with Patient(ward.client, "b", image=None, secrets=(), environ={}) as patient:
        examined = await examine(patient)
    hung, failed = (item.findings[0] for item in examined)
    assert "hanging did not end within 0.05 s" in hung.what
    assert (failed.what, failed.command) == ("not examined: failing, failing too: it broke", "kubectl get it")
    assert not prevents_building(examined)


def test_what_a_pod_prints_is_read_whatever_is_missing() -> None:
    now = time.time()
    assert read_beside("", now, now).skew is None
    text = f"clock {int(now)}\nprogram nc\nprogram buildkit-qemu-aarch64\ndisk /dev/a 100 1 99 1% /x\ndisk nonsense\n"
    found = read_beside(text, now, now)
    assert (found.skew, found.disk, found.emulators, found.has_nc) == (0.0, (102400, 101376), ("arm64",), True)


@pytest.mark.parametrize(
    ("hint", "command"),
    [
        (None, ""),
        ("check the proxy", ""),
        ("kubectl get nodes -L a", "kubectl get nodes -L a"),
        ("see: kubectl buildkit ls", "kubectl buildkit ls"),
        ("check the name; kubectl describe pod x", "kubectl describe pod x"),
        ("give it in kubectl buildkit create --config FILE, or otherwise", ""),
    ],
)
def test_command_of_a_hint_is_what_can_be_typed(hint: str | None, command: str) -> None:
    assert command_of(hint) == command


def index(*platforms: str) -> bytes:
    """An index of images for these platforms."""
    entries = []
    for name in platforms:
        os, architecture = name.split("/")
        entries.append({"digest": "sha256:" + "0" * 64, "size": 1, "platform": {"os": os, "architecture": architecture}})
    return json.dumps({"schemaVersion": 2, "mediaType": MEDIA_TYPE_INDEX, "manifests": entries}).encode()


def secret(host: str, password: str) -> dict[str, object]:
    config = {"auths": {host: {"username": USER, "password": password}}}
    data = base64.b64encode(json.dumps(config).encode()).decode()
    return {"metadata": {"name": "my-secret"}, "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": data}}


async def test_image_is_looked_at_from_the_pod_and_from_here_with_the_login_found(ward: Ward, daemon: MakeDaemon) -> None:
    await daemon()
    async with serve(FakeRegistry(auth="basic")) as registry:
        ward.api.add(SECRETS, secret(registry.host, PASSWORD))
        registry.manifests["app", "1"] = (index("linux/amd64", "unknown/unknown"), MEDIA_TYPE_INDEX)
        found = (await ward.examined(image=f"{registry.host}/app:1", secrets=("my-secret",)))["registries"]
    assert found[0] == ok(f'registry {registry.host} answers from the builder\'s pod, with login "me" from secret "my-secret"')
    assert found[1] == ok(f"registry {registry.host} answers from this machine too")
    assert "is for linux/amd64; it does not run on node-arm64 (linux/arm64)" in found[2].what
    assert "--platform=linux/amd64,linux/arm64" in found[2].command


async def test_registry_that_refuses_a_secret_is_a_problem_that_names_it(ward: Ward, daemon: MakeDaemon) -> None:
    await daemon()
    async with serve(FakeRegistry(auth="basic")) as registry:
        ward.api.add(SECRETS, secret(registry.host, "wrong"))
        found = (await ward.examined(image=f"{registry.host}/app:1", secrets=("my-secret",)))["registries"]
    problem = only(found, Level.PROBLEM)
    assert 'refuses login "me" from secret "my-secret"' in problem.what
    assert "wrong" not in problem.what
    assert problem.command.startswith(f"kubectl create secret docker-registry my-secret -n default --docker-server={registry.host}")


async def test_login_of_docker_is_named_with_its_file_and_an_absent_image_is_no_problem(ward: Ward, daemon: MakeDaemon) -> None:
    await daemon()
    async with serve(FakeRegistry(auth="basic")) as registry:
        config = {"auths": {registry.host: {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}}}
        (ward.folder / "config.json").write_text(json.dumps(config))
        found = (await ward.examined(image=f"{registry.host}/none", environ={"DOCKER_CONFIG": str(ward.folder)}))["registries"]
    assert f'login "me" from docker config "{ward.folder}/config.json"' in found[0].what
    assert "is not there yet" in found[-1].what
    assert all(finding.level is not Level.PROBLEM for finding in found)


async def test_registry_that_the_pod_cannot_reach_is_a_problem(ward: Ward, daemon: MakeDaemon) -> None:
    await daemon()
    found = (await ward.examined(image="127.0.0.1:1/app"))["registries"]
    assert "cannot be used from the builder's pod" in only(found, Level.PROBLEM).what


async def test_registry_that_only_this_machine_was_seen_to_miss_is_a_note(ward: Ward) -> None:
    found = (await ward.examined(image="127.0.0.1:1/app"))["registries"]
    assert [finding.level for finding in found] == [Level.NOTE] * 2
    assert "from this machine" in found[1].what


async def test_images_of_the_last_build_are_looked_at_when_none_is_named(ward: Ward, daemon: MakeDaemon) -> None:
    async with serve(FakeRegistry()) as registry:
        registry.manifests["last", "latest"] = (index("linux/amd64", "linux/arm64"), MEDIA_TYPE_INDEX)
        await daemon(images=f"{registry.host}/last:latest")
        found = (await ward.examined())["registries"]
    assert found[-1].what.endswith("every node runs it")


async def test_login_that_only_the_last_build_knew_is_a_note(ward: Ward, daemon: MakeDaemon) -> None:
    async with serve(FakeRegistry(auth="basic")) as registry:
        await daemon(images=f"{registry.host}/last:latest")
        found = await ward.examined()
        assert problems(found) == []
        assert "wants a login" in only(found["registries"], Level.NOTE).what
        named = await ward.examined(image=f"{registry.host}/last")
        assert only(named["registries"], Level.PROBLEM).command.startswith("kubectl create secret docker-registry buildkit ")


async def test_secret_that_is_named_and_missing_is_a_problem(ward: Ward) -> None:
    async with serve(FakeRegistry()) as registry:
        found = (await ward.examined(image=f"{registry.host}/app", secrets=("nobody",)))["registries"]
    assert '"nobody"' in only(found, Level.PROBLEM).what
