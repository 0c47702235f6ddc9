"""Which level is chosen, from what nodes and API server say; and how a pool goes down when its pod cannot start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from kubectl_build.builder import making, names
from kubectl_build.builder.bootstrap import ensure_pools
from kubectl_build.builder.create import create_builder
from kubectl_build.builder.ladder import Choice, choose_level, preview_levels
from kubectl_build.builder.manifests import render
from kubectl_build.builder.security import level_of
from kubectl_build.builder.shape import PodShape
from kubectl_build.builder.spec import BuilderSpec
from kubectl_build.builder.state import PodInfo
from kubectl_build.builder.volume import CacheVolume
from kubectl_build.cluster.client import CONFIGMAPS, EVENTS, NODES, PODS, STATEFULSETS, KubeClient
from kubectl_build.errors import BuilderNotReady, NotFound, UsageError
from kubectl_build.model.events import Note
from kubectl_build.model.json import JsonObject
from tests.fakes.kube_api import FakeKubeApi, Fault, Request
from tests.unit.builder.conftest import Notes, until
from tests.unit.builder.controller import ready, run_controller, waiting

POD_SECURITY = 'pods "b-amd64-x" is forbidden: violates PodSecurity "baseline:latest": privileged (container "buildkitd" must not ...)'
IDMAP = "failed to create containerd task: OCI runtime create failed: idmap mounts are not supported: operation not permitted"


def _node(name: str, *, user_namespaces: bool | None = True, architecture: str = "amd64", **labels: str) -> JsonObject:
    handlers = [{"name": "", "features": {"userNamespaces": user_namespaces}}, {"name": "other", "features": {"userNamespaces": True}}]
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/arch": architecture, "kubernetes.io/os": "linux", **labels}},
        "spec": {},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"containerRuntimeVersion": "containerd://1.6.20", "kernelVersion": "5.4.0"},
            **({} if user_namespaces is None else {"runtimeHandlers": handlers}),
        },
    }


async def _choose(client: KubeClient, below: str = "", **spec: Any) -> Choice:
    return await choose_level(client, "b", BuilderSpec(**spec), "amd64", below=below)


def _refuse_trials(api: FakeKubeApi, message: str, *, code: int = 403, when: Callable[[JsonObject], bool] = lambda pod: True) -> None:
    """Refuse the dry run of pods whose spec `when` chooses."""

    def matches(request: Request) -> bool:
        trial = request.method == "POST" and request.path.endswith("/pods") and request.query.get("dryRun") == "All"
        return trial and request.body is not None and when(request.body["spec"])

    api.faults.append(Fault(matches=matches, code=code, message=message))


def _is_privileged(pod: JsonObject) -> bool:
    return bool(pod["containers"][0]["securityContext"].get("privileged"))


# what is chosen


async def test_auto_takes_the_user_namespace_where_nodes_and_server_have_it(api: FakeKubeApi, client: KubeClient) -> None:
    api.add(NODES, _node("n"))

    choice = await _choose(client)

    assert choice == Choice(architecture="amd64", level="userns", asked=False)
    assert choice.note == Note(text="security of pool amd64: userns, the safest there is")
    assert api.find(PODS, "b") is None
    (trial,) = [request for request in api.requests if request.method == "POST"]
    assert trial.query["dryRun"] == "All"


@pytest.mark.parametrize("user_namespaces", [False, None])
async def test_auto_leaves_out_the_user_namespace_where_a_node_has_none_and_says_which(
    api: FakeKubeApi, client: KubeClient, user_namespaces: bool | None
) -> None:
    api.add(NODES, _node("able"))
    api.add(NODES, _node("old", user_namespaces=user_namespaces))

    choice = await _choose(client)

    assert choice.level == "rootless"
    assert choice.note.text == (
        "security of pool amd64: rootless, for want of a safer one; "
        "not userns: node old offers no user namespaces (containerd://1.6.20, 5.4.0)"
    )


@pytest.mark.parametrize(
    "spec",
    [
        {"pod": PodShape(node_selector={"pool": "builders"})},  # the old node is not selected
        {"pod": PodShape(runtime_class="other")},  # what the default runtime lacks does not matter
        {"security": "userns"},  # asked for: the pod may find its way to a node that can
    ],
)
async def test_node_without_user_namespaces_does_not_matter_where_the_pod_need_not_go(
    api: FakeKubeApi, client: KubeClient, spec: dict[str, Any]
) -> None:
    api.add(NODES, _node("able", pool="builders"))
    api.add(NODES, _node("old", user_namespaces=False))
    api.add(NODES, _node("other", user_namespaces=False, architecture="arm64"))

    assert (await _choose(client, **spec)).level == "userns"


async def test_auto_counts_what_it_may_not_ask_as_admitted(api: FakeKubeApi, client: KubeClient) -> None:
    api.fail("GET", "/nodes", 403)
    _refuse_trials(api, 'pods is forbidden: User "u" cannot create resource "pods" in API group "" in the namespace "default"')

    assert (await _choose(client)).level == "userns"


async def test_auto_leaves_out_the_user_namespace_where_the_server_drops_it(api: FakeKubeApi, client: KubeClient) -> None:
    api.add(NODES, _node("n"))
    api.knows_host_users = False

    choice = await _choose(client)

    assert choice.level == "rootless"
    assert dict(choice.passed)["userns"] == "the API server does not know user namespaces: it drops hostUsers"


async def test_auto_takes_rootless_where_a_policy_refuses_privilege(api: FakeKubeApi, client: KubeClient) -> None:
    denial = 'admission webhook "policy.example" denied the request: no privileged containers'
    _refuse_trials(api, denial, when=_is_privileged)

    choice = await _choose(client)

    assert choice.level == "rootless"
    assert dict(choice.passed) == {"userns": denial}


async def test_auto_takes_privileged_last_and_warns(api: FakeKubeApi, client: KubeClient) -> None:
    api.add(NODES, _node("old", user_namespaces=False))

    choice = await _choose(client, image="team/builder:1")

    assert choice.level == "privileged"
    assert choice.note.level == "warning"
    assert list(dict(choice.passed)) == ["userns", "rootless"]


@pytest.mark.parametrize(
    "message", ["exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1", "error looking up service account"]
)
async def test_refusal_that_is_not_about_security_is_left_to_the_pod(api: FakeKubeApi, client: KubeClient, message: str) -> None:
    _refuse_trials(api, f'pods "x" is forbidden: {message}')

    assert (await _choose(client)).level == "userns"


async def test_webhook_that_cannot_do_dry_runs_is_left_to_the_pod(api: FakeKubeApi, client: KubeClient) -> None:
    _refuse_trials(api, 'admission webhook "w" does not support dry run', code=400)

    assert (await _choose(client)).level == "userns"


@pytest.mark.parametrize("security", ["auto", "userns", "rootless", "privileged"])
async def test_namespace_that_admits_no_level_gives_the_sentence_with_the_label(
    api: FakeKubeApi, client: KubeClient, security: str
) -> None:
    _refuse_trials(api, POD_SECURITY)

    with pytest.raises(BuilderNotReady, match='namespace "default" does not admit the pods of a builder') as caught:
        await _choose(client, security=security)

    assert caught.value.reason == "PodSecurity"
    assert 'violates PodSecurity "baseline:latest"' in caught.value.message
    assert caught.value.hint is not None
    assert "kubectl label namespace default pod-security.kubernetes.io/enforce=privileged --overwrite" in caught.value.hint


async def test_level_asked_for_stays_though_a_safer_one_is_possible(api: FakeKubeApi, client: KubeClient) -> None:
    choice = await _choose(client, security="privileged")

    assert choice.level == "privileged"
    assert choice.note == Note(text="security of pool amd64: privileged, as asked for")


async def test_level_asked_for_that_is_not_possible_is_refused_and_does_not_fall(api: FakeKubeApi, client: KubeClient) -> None:
    api.knows_host_users = False

    with pytest.raises(BuilderNotReady, match=r"no security level is left \(userns: the API server") as caught:
        await _choose(client, security="userns")
    assert caught.value.hint == "use --security auto"


async def test_emulators_cannot_be_installed_in_a_user_namespace(api: FakeKubeApi, client: KubeClient) -> None:
    with pytest.raises(UsageError, match="emulators that are registered in a user namespace go when") as caught:
        await _choose(client, security="userns", qemu_install=True)
    assert caught.value.hint == "use --security auto"

    assert (await _choose(client, qemu_install=True)).level == "rootless"


async def test_missing_namespace_is_an_error_of_its_own(api: FakeKubeApi, client: KubeClient) -> None:
    api.namespaces = {"other"}

    with pytest.raises(NotFound, match='namespace "default" does not exist'):
        await _choose(client)


async def test_trial_of_a_pod_with_a_claim_has_a_volume_for_it(api: FakeKubeApi, client: KubeClient) -> None:
    await _choose(client, cache=CacheVolume(kind="pvc", size="1Gi"))

    (trial,) = [request.body for request in api.requests if request.method == "POST"]
    assert trial is not None
    mounted = {mount["name"] for mount in trial["spec"]["containers"][0]["volumeMounts"]}
    assert mounted <= {volume["name"] for volume in trial["spec"]["volumes"]}


# going down


async def _ensure(client: KubeClient, notes: Notes, *, fresh: dict[str, str] | None = None, **spec: Any) -> dict[str, tuple[PodInfo, ...]]:
    async def source() -> BuilderSpec:
        return BuilderSpec(**spec)

    return await ensure_pools(client, "b", ["amd64"], spec_source=source, emit=notes, deadline=20, fresh=fresh)


def _starts(*levels: str) -> Callable[[JsonObject], JsonObject | None]:
    """Pods of these levels start; others cannot for want of what their level needs."""
    stuck = waiting("RunContainerError", IDMAP)
    return lambda pod: ready(pod) if level_of(pod) in levels else stuck(pod)


def _level(api: FakeKubeApi) -> str:
    stored = api.find(STATEFULSETS, "b-amd64")
    return level_of(stored["spec"]["template"]) if stored else ""


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch, impatience: None) -> None:
    monkeypatch.setattr("kubectl_build.builder.explain._LONG", 0.0)
    monkeypatch.setattr("kubectl_build.builder.explain._SHORT", 0.0)
    monkeypatch.setenv("KUBECTL_BUILD_DEADLINES", "others=200ms")
    monkeypatch.setattr(making, "_OTHERS_INTERVAL", 0.01)


@pytest.mark.parametrize("able", ["userns", "rootless", "privileged"])
async def test_ensure_goes_down_until_a_pod_starts_and_records_the_level(
    api: FakeKubeApi, client: KubeClient, notes: Notes, able: str
) -> None:
    async with run_controller(api, _starts(able)):
        pods = await _ensure(client, notes)

    assert [pod.name for pod in pods["amd64"]] == ["b-amd64-0"]
    assert _level(api) == able
    told = [text for text in notes.texts if "cannot start with security" in text]
    assert len(told) == ["userns", "rootless", "privileged"].index(able)
    assert all("idmap mounts are not supported" in text for text in told)
    assert any(text.startswith(f"security of pool amd64: {able}, ") for text in notes.texts)


async def test_ensure_at_the_end_of_the_ladder_tells_the_last_reason_and_leaves_nothing(
    api: FakeKubeApi, client: KubeClient, notes: Notes
) -> None:
    async with run_controller(api, _starts()):
        with pytest.raises(BuilderNotReady, match=r"cannot be started: container buildkitd of pod b-amd64-0 .*idmap"):
            await _ensure(client, notes)
        await until(lambda: not api.objects)


async def test_ensure_never_changes_a_level_that_was_asked_for(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    async with run_controller(api, _starts("privileged")):
        with pytest.raises(BuilderNotReady, match="idmap"):
            await _ensure(client, notes, security="userns")
    assert not any("cannot start with security" in text for text in notes.texts)


@pytest.mark.parametrize(
    "status",
    [waiting("ErrImagePull", "not found"), waiting("CreateContainerConfigError", 'configmap "b" not found')],
)
async def test_ensure_does_not_go_down_for_what_every_level_would_meet(
    api: FakeKubeApi, client: KubeClient, notes: Notes, status: Callable[[JsonObject], JsonObject | None]
) -> None:
    async with run_controller(api, status):
        with pytest.raises(BuilderNotReady):
            await _ensure(client, notes)
    assert not any("cannot start with security" in text for text in notes.texts)


async def test_ensure_goes_down_when_the_rootless_image_cannot_be_pulled(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    api.add(NODES, _node("old", user_namespaces=False))

    def status(pod: JsonObject) -> JsonObject | None:
        if level_of(pod) == "privileged":
            return ready(pod)
        found = waiting("ErrImagePull", "not found")(pod)
        assert found is not None
        found["containerStatuses"][0]["image"] = pod["spec"]["containers"][0]["image"]
        return found

    async with run_controller(api, status):
        await _ensure(client, notes)
    assert _level(api) == "privileged"


async def test_ensure_does_not_go_down_with_a_builder_that_people_use(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    manifests = render("b", "default", BuilderSpec(), ["amd64"])
    api.add(CONFIGMAPS, manifests.config_map)
    api.add(STATEFULSETS, manifests.stateful_sets["amd64"])

    async with run_controller(api, _starts("privileged")):
        with pytest.raises(BuilderNotReady, match="idmap") as caught:
            await _ensure(client, notes)
    assert _level(api) == "userns"
    assert caught.value.hint is not None
    assert caught.value.hint.endswith("or take a lower level: kubectl buildkit create b --security rootless")


async def test_ensure_goes_down_with_a_pool_that_create_has_just_made(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    async def idle(_pod: PodInfo) -> int:
        return 0

    result = await create_builder(client, "b", BuilderSpec(), architectures=["amd64"], active_builds=idle, emit=notes)
    assert _level(api) == "userns"
    async with run_controller(api, _starts("rootless")):
        await _ensure(client, notes, fresh=dict(result.fresh))

    assert _level(api) == "rootless"
    again = await create_builder(client, "b", BuilderSpec(), active_builds=idle, emit=notes)
    assert (again.changed, _level(api)) == (False, "rootless")


async def _create_unstarted(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    """As `create` without --bootstrap does, seen by an API server that says who wrote what."""

    async def idle(_pod: PodInfo) -> int:
        return 0

    await create_builder(client, "b", BuilderSpec(), architectures=["amd64"], active_builds=idle, emit=notes)
    made = api.find(STATEFULSETS, "b-amd64")
    assert made is not None
    made["metadata"]["generation"] = 1
    made["metadata"]["managedFields"] = [{"manager": "kubectl-build", "operation": "Update", "fieldsV1": {"f:spec": {"f:template": {}}}}]


async def test_ensure_goes_down_with_a_pool_that_was_made_before_and_never_worked(
    api: FakeKubeApi, client: KubeClient, notes: Notes
) -> None:
    await _create_unstarted(api, client, notes)
    async with run_controller(api, _starts("rootless")):
        await _ensure(client, notes)

    assert _level(api) == "rootless"
    assert any(text.startswith("pool amd64 cannot start with security userns: ") for text in notes.texts)


async def test_ensure_that_may_not_make_the_pool_again_says_who_can(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    await _create_unstarted(api, client, notes)
    api.fail("DELETE", "/statefulsets/b-amd64", 403, message="no")
    async with run_controller(api, _starts("rootless")):
        with pytest.raises(BuilderNotReady, match="idmap") as caught:
            await _ensure(client, notes)

    assert caught.value.hint == "somebody who may make builders can: kubectl buildkit inspect b --bootstrap"
    assert _level(api) == "userns"


async def test_two_that_wait_for_one_pool_go_down_together(
    api: FakeKubeApi, client: KubeClient, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECTL_BUILD_DEADLINES", "others=10s")  # the other client's step takes as long as it takes
    async with run_controller(api, _starts("rootless")):
        first, second = await asyncio.gather(_ensure(client, notes), _ensure(client, notes))

    assert first == second
    assert _level(api) == "rootless"


async def test_ensure_deletes_a_pool_at_once_whose_user_namespace_was_dropped(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    """The dry run was not allowed, so only what was made tells."""
    _refuse_trials(api, 'User "u" cannot create resource "pods"')
    api.knows_host_users = False

    async with run_controller(api):
        await _ensure(client, notes)

    assert _level(api) == "rootless"
    exposed = [request for request in api.requests if request.method == "POST" and request.path.endswith("/statefulsets")]
    deleted = [request for request in api.requests if request.method == "DELETE" and request.path.endswith("/b-amd64")]
    assert (len(exposed), len(deleted)) == (2, 1)
    assert api.requests.index(deleted[0]) < api.requests.index(exposed[1])


async def test_ensure_takes_no_pod_for_ready_that_lost_its_user_namespace(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    """Of several API servers one may know user namespaces, and another make the pod."""

    def drop(pod: JsonObject) -> JsonObject | None:
        pod["spec"].pop("hostUsers", None)
        return ready(pod)

    async with run_controller(api, drop):
        await _ensure(client, notes)

    assert _level(api) == "rootless"
    assert any("dropped hostUsers of b-amd64-0" in text for text in notes.texts)


async def test_create_with_a_user_namespace_that_the_server_drops_leaves_nothing(
    api: FakeKubeApi, client: KubeClient, notes: Notes
) -> None:
    _refuse_trials(api, 'User "u" cannot create resource "pods"')
    api.knows_host_users = False

    async def idle(_pod: PodInfo) -> int:
        return 0

    with pytest.raises(BuilderNotReady, match="dropped hostUsers of StatefulSet b-amd64"):
        await create_builder(client, "b", BuilderSpec(security="userns"), architectures=["amd64"], active_builds=idle, emit=notes)
    assert not api.objects


async def test_create_keeps_the_level_of_a_pool_unless_another_is_asked_for(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    async def idle(_pod: PodInfo) -> int:
        return 0

    async def create(**spec: Any) -> str:
        await create_builder(client, "b", BuilderSpec(**spec), architectures=["amd64"], active_builds=idle, emit=notes)
        return _level(api)

    assert await create(security="privileged") == "privileged"
    assert await create() == "privileged"
    assert await create(replicas=2) == "privileged"
    assert await create(security="userns") == "userns"
    # What the level cannot have makes it choose again.
    assert await create(qemu_install=True) == "rootless"


async def test_preview_is_what_create_would_choose_and_no_obstacle(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    api.add(STATEFULSETS, render("b", "default", BuilderSpec(security="privileged"), ["arm64"]).stateful_sets["arm64"])
    found = await preview_levels(client, "b", BuilderSpec(), ["amd64", "arm64"], notes)
    assert found == {"amd64": "userns", "arm64": "privileged"}

    _refuse_trials(api, POD_SECURITY)
    assert await preview_levels(client, "b", BuilderSpec(), ["amd64"], notes) == {}
    assert 'namespace "default" does not admit the pods of a builder' in notes.texts[-1]
    assert all(request.query.get("dryRun") == "All" for request in api.requests if request.method != "GET")


async def test_event_of_a_runtime_without_user_namespaces_lets_the_pool_go_down(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    scheduled = {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]}
    message = 'the handler "" does not support user namespaces'

    async with run_controller(api, lambda pod: ready(pod) if level_of(pod) == "rootless" else dict(scheduled)):
        task = asyncio.create_task(_ensure(client, notes))
        await until(lambda: api.find(PODS, "b-amd64-0"))
        pod = api.find(PODS, "b-amd64-0")
        assert pod is not None
        about = {"name": "b-amd64-0", "uid": pod["metadata"]["uid"]}
        api.add(EVENTS, {"metadata": {"name": "e"}, "involvedObject": about, "reason": "FailedCreatePodSandBox", "message": message})
        await task

    assert _level(api) == "rootless"


def test_annotation_is_the_contract_that_tells_the_level() -> None:
    assert names.ANNOTATION_SECURITY == "kubectl-build/security"
