"""What a user is told while a pool is not ready. The messages of Kubernetes are as its version 1.34 writes them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kubectl_build.builder.explain import Diagnosis, PoolView, explain_pod, explain_pool
from kubectl_build.model.json import JsonObject
from tests.unit.builder.controller import waiting

SET: JsonObject = {"metadata": {"name": "b-amd64", "uid": "s"}, "spec": {}}


def _pod(status: JsonObject | None = None, **metadata: Any) -> JsonObject:
    pod: JsonObject = {"metadata": {"name": "b-amd64-0", "namespace": "n", "uid": "p", **metadata}, "spec": {"nodeName": "node-1"}}
    return pod | ({"status": status} if status else {})


def _stuck(reason: str, message: str, **more: Any) -> JsonObject:
    status = copy.deepcopy(waiting(reason, message)({})) or {}
    status["containerStatuses"][0] |= more
    return _pod(status)


def _event(uid: str, reason: str, message: str, second: int = 0) -> JsonObject:
    return {
        "metadata": {"name": f"e{second}"},
        "involvedObject": {"uid": uid},
        "reason": reason,
        "message": message,
        "lastTimestamp": f"2026-01-01T00:00:{second:02}Z",
    }


def _explain_set(*events: JsonObject) -> Diagnosis:
    return explain_pool(PoolView(namespace="n", architecture="amd64", stateful_set=SET, pods=[], events=events))


def test_pod_that_no_node_takes_is_waited_for_with_the_schedulers_words() -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate",
    }
    found = explain_pod(_pod({"phase": "Pending", "conditions": [condition]}))

    assert found.text == "no node can take pod b-amd64-0 now: 0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate"
    assert (found.reason, found.patience) == ("Unschedulable", None)


@pytest.mark.parametrize(
    ("why", "patience"),
    [('storageclass.storage.k8s.io "fast" not found', 10.0), ("waiting for a volume to be created", None)],
)
def test_pod_whose_claim_has_no_volume_is_told_with_the_claims_words(why: str, patience: float | None) -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
    }
    pod = _pod({"phase": "Pending", "conditions": [condition]})
    pod["spec"]["volumes"] = [{"name": "state", "persistentVolumeClaim": {"claimName": "state-b-amd64-0"}}]
    events = [
        {"metadata": {}, "involvedObject": {"kind": "PersistentVolumeClaim", "name": name}, "reason": "ProvisioningFailed", "message": text}
        for name, text in (("state-b-amd64-0", why), ("state-other", "not this one"))
    ]
    found = explain_pool(PoolView(namespace="n", architecture="amd64", stateful_set=SET, pods=[pod], events=events))

    assert found.text == f"claim state-b-amd64-0 of pod b-amd64-0 has no volume: {why}"
    assert found.patience == patience
    assert "kubectl describe pvc state-b-amd64-0" in (found.hint or "")


@pytest.mark.parametrize(
    "message",
    [
        'rpc error: code = NotFound desc = failed to pull and unpack image "img": img: not found',
        'Back-off pulling image "img": ErrImagePull: rpc error: code = NotFound desc = '
        'failed to pull and unpack image "img": img: not found',
    ],
)
def test_image_that_is_not_there_is_told_soon_with_the_registrys_words(message: str) -> None:
    reason = "ImagePullBackOff" if message.startswith("Back-off") else "ErrImagePull"
    found = explain_pod(_stuck(reason, message))

    assert found.text == 'image "img" of pod b-amd64-0 cannot be pulled: failed to pull and unpack image "img": img: not found'
    assert found.reason == reason
    assert found.patience is not None
    assert found.patience <= 3


def test_image_behind_a_registry_that_is_down_gets_the_kubelets_first_retry() -> None:
    found = explain_pod(_stuck("ErrImagePull", "rpc error: code = Unknown desc = dial tcp 10.0.0.1:443: connect: connection refused"))

    assert found.patience == 10


def test_image_of_an_older_kubelet_is_explained_by_its_event() -> None:
    events = [_event("p", "Failed", 'Failed to pull image "img": rpc error: code = Unknown desc = unauthorized', 1)]
    found = explain_pod(_stuck("ImagePullBackOff", 'Back-off pulling image "img"'), events)

    assert found.text == 'image "img" of pod b-amd64-0 cannot be pulled: unauthorized'


@pytest.mark.parametrize("reason", ["InvalidImageName", "ErrImageNeverPull"])
def test_image_that_kubelet_never_pulls_is_told_soon(reason: str) -> None:
    found = explain_pod(_stuck(reason, 'Failed to apply default image tag "a b"'))

    assert found.patience is not None
    assert found.patience <= 3


def test_daemon_that_crashes_is_told_with_the_end_of_its_log() -> None:
    ended = {"exitCode": 1, "reason": "Error", "message": "a\nb\nbuildkitd: failed to parse config: bad\nthe last line\n"}
    found = explain_pod(_stuck("CrashLoopBackOff", "back-off 10s restarting", lastState={"terminated": ended}))

    assert found.text == "buildkitd of pod b-amd64-0 ended with exit code 1: b | buildkitd: failed to parse config: bad | the last line"
    assert found.hint == "kubectl logs b-amd64-0 -c buildkitd -n n --previous"
    assert found.patience is not None


def test_daemon_that_is_killed_for_memory_is_told_so() -> None:
    found = explain_pod(_stuck("CrashLoopBackOff", "", lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}))

    assert found.text == "buildkitd of pod b-amd64-0 was killed because it needed more memory than it may have (OOMKilled)"


def test_daemon_that_crashed_and_starts_again_is_waited_for() -> None:
    pod = _stuck("", "", state={"running": {}}, lastState={"terminated": {"exitCode": 2}})
    found = explain_pod(pod)

    assert found.text == "buildkitd of pod b-amd64-0 ended with exit code 2"
    assert found.patience is None


def test_daemon_that_runs_but_does_not_answer_yet_is_starting() -> None:
    assert explain_pod(_stuck("", "", state={"running": {}})).text == "buildkitd of pod b-amd64-0 is starting"


def test_init_container_that_fails_is_the_one_that_is_told() -> None:
    pod = _stuck("PodInitializing", "")
    ended = {"exitCode": 1, "message": "cannot mount binfmt_misc filesystem"}
    pod["status"]["initContainerStatuses"] = [
        {"name": "binfmt", "ready": False, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": ended}}
    ]

    assert explain_pod(pod).text == "binfmt of pod b-amd64-0 ended with exit code 1: cannot mount binfmt_misc filesystem"


def test_container_that_cannot_be_made_is_told() -> None:
    found = explain_pod(_stuck("CreateContainerConfigError", 'secret "b-certs" not found'))

    assert found.text == 'container buildkitd of pod b-amd64-0 cannot be started: secret "b-certs" not found'
    assert found.patience == 10


@pytest.mark.parametrize(
    ("reason", "message", "text", "patience"),
    [
        ("Pulling", 'Pulling image "img"', 'node node-1 is pulling the image of pod b-amd64-0: "img"', None),
        (
            "FailedMount",
            "error processing PVC n/state-b-amd64-0: PVC is not bound",
            "a volume of pod b-amd64-0 cannot be mounted: error processing PVC n/state-b-amd64-0: PVC is not bound",
            None,
        ),
        (
            "FailedAttachVolume",
            'Multi-Attach error for volume "v" Volume is already used by pod(s) b-amd64-0',
            'a volume of pod b-amd64-0 cannot be mounted: Multi-Attach error for volume "v" Volume is already used by pod(s) b-amd64-0',
            None,
        ),
        ("FailedCreatePodSandBox", "no network", "node node-1 cannot set up pod b-amd64-0: no network", None),
        ("Scheduled", "Successfully assigned", "node node-1 is preparing pod b-amd64-0", None),
    ],
)
def test_pod_without_a_container_is_explained_by_its_newest_event(reason: str, message: str, text: str, patience: float | None) -> None:
    events = [_event("p", "Scheduled", "x", 1), _event("p", reason, message, 2), _event("other", "FailedMount", "y", 3)]
    found = explain_pool(
        PoolView(namespace="n", architecture="amd64", stateful_set=SET, pods=[_stuck("ContainerCreating", "")], events=events)
    )

    assert (found.text, found.patience) == (text, patience)


@pytest.mark.parametrize(
    "message",
    [
        'MountVolume.SetUp failed for volume "config" : secret "b-certs" not found',
        'MountVolume.SetUp failed for volume "config" : configmap references non-existent config key: x',
        'MountVolume.SetUp failed for volume "h" : hostPath type check failed: /x is not a directory',
    ],
)
def test_volume_that_is_wrong_is_final_after_the_kubelets_first_retry(message: str) -> None:
    stuck = _stuck("ContainerCreating", "")
    found = explain_pool(
        PoolView(namespace="n", architecture="amd64", stateful_set=SET, pods=[stuck], events=[_event("p", "FailedMount", message, 1)])
    )

    assert (found.text, found.patience) == (f"a volume of pod b-amd64-0 cannot be mounted: {message}", 10)


@pytest.mark.parametrize(
    "message", ["rpc error: code = DeadlineExceeded desc = context deadline exceeded", 'failed to reserve container name "b": is reserved']
)
def test_container_that_a_slow_runtime_has_not_made_yet_is_waited_for(message: str) -> None:
    assert explain_pod(_stuck("CreateContainerError", message)).patience is None


def test_secret_that_the_kubelet_could_not_get_in_time_is_waited_for() -> None:
    message = "failed to sync secret cache: timed out waiting for the condition"
    mount = _event("p", "FailedMount", f'MountVolume.SetUp failed for volume "config" : {message}', 1)
    mounting = explain_pool(
        PoolView(namespace="n", architecture="amd64", stateful_set=SET, pods=[_stuck("ContainerCreating", "")], events=[mount])
    )
    starting = explain_pod(_stuck("CreateContainerConfigError", message))

    assert (mounting.patience, starting.patience) == (None, None)
    assert message in mounting.text
    assert message in starting.text


def test_evicted_pod_is_told_with_its_reason() -> None:
    found = explain_pod(_pod({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}))

    assert found.text == "pod b-amd64-0 failed and is made anew: Evicted: The node was low on resource: memory."
    assert found.patience is None


def test_pod_security_is_told_with_the_label_that_allows_it() -> None:
    found = _explain_set(
        _event(
            "s",
            "FailedCreate",
            'create Pod b-amd64-0 in StatefulSet b-amd64 failed error: pods "b-amd64-0" is forbidden: violates PodSecurity '
            '"baseline:latest": privileged (container "buildkitd" must not set securityContext.privileged=true)',
        )
    )

    assert found.text == (
        'namespace "n" does not admit the pods of a builder, of whatever security level: violates PodSecurity "baseline:latest": '
        'privileged (container "buildkitd" must not set securityContext.privileged=true)'
    )
    assert found.hint is not None
    assert "kubectl label namespace n pod-security.kubernetes.io/enforce=privileged" in found.hint
    assert found.reason == "PodSecurity"


def test_quota_is_told_with_its_numbers() -> None:
    found = _explain_set(
        _event(
            "s",
            "FailedCreate",
            'create Pod b-amd64-0 in StatefulSet b-amd64 failed error: pods "b-amd64-0" is forbidden: exceeded quota: q, requested: pods=1',
        )
    )

    assert found.text == 'a quota of namespace "n" leaves no room for pod b-amd64-0: exceeded quota: q, requested: pods=1'
    assert found.reason == "QuotaExceeded"


def test_other_refusals_of_the_pod_are_told_in_the_servers_words() -> None:
    found = _explain_set(_event("s", "FailedCreate", "create Pod b-amd64-0 in StatefulSet b-amd64 failed error: webhook denied it"))

    assert found.text == "the pod of StatefulSet b-amd64 cannot be made: webhook denied it"
    assert found.patience is not None


@pytest.mark.parametrize(
    ("message", "patience"),
    [
        ('error looking up service account n/default: serviceaccount "default" not found', None),
        ('error looking up service account n/mine: serviceaccount "mine" not found', 4),
        ('failed calling webhook "w.example": context deadline exceeded', 10),
        ('admission webhook "w.example" denied the request: no', 4),
    ],
)
def test_refusal_of_the_pod_that_a_new_namespace_or_a_busy_webhook_makes_lasts_longer(message: str, patience: float | None) -> None:
    found = _explain_set(_event("s", "FailedCreate", f"create Pod b-amd64-0 in StatefulSet b-amd64 failed error: {message}"))

    assert found.patience == patience


def test_failed_create_that_is_over_or_of_an_earlier_statefulset_is_not_told() -> None:
    old = _event("s", "FailedCreate", "x", 1)

    assert _explain_set(old, _event("s", "SuccessfulCreate", "y", 2)).patience is None
    assert _explain_set(_event("earlier", "FailedCreate", "x", 3)).text == "StatefulSet b-amd64 has made no pod yet"


def test_of_two_pods_the_one_with_hope_speaks() -> None:
    pods = [_stuck("ErrImagePull", "not found"), _stuck("", "", state={"running": {}})]
    found = explain_pool(PoolView(namespace="n", architecture="amd64", stateful_set=SET, pods=pods))

    assert found.patience is None


def test_pod_that_terminates_is_named_with_its_node() -> None:
    pods = [_pod(deletionTimestamp="2026-01-01T00:00:00Z")]
    found = explain_pool(PoolView(namespace="n", architecture="amd64", stateful_set=SET, pods=pods))

    assert found.text == "pod b-amd64-0 on node node-1 is still terminating"


@pytest.mark.parametrize("status", [None, {"phase": "Pending"}])
def test_pod_without_any_status_is_explained_without_failing(status: JsonObject | None) -> None:
    assert explain_pod(_pod(status)).text == "node node-1 is preparing pod b-amd64-0"
    pod = _pod(status)
    pod["spec"] = {}
    assert explain_pod(pod).text == "pod b-amd64-0 waits for the scheduler"


USERNS = {"annotations": {"kubectl-build/security": "userns"}}


def _ended(message: str, reason: str = "Error") -> JsonObject:
    return _stuck("CrashLoopBackOff", "back-off 10s", lastState={"terminated": {"reason": reason, "exitCode": 1, "message": message}})


@pytest.mark.parametrize(
    ("pod", "events", "matters"),
    [
        (_ended("[rootlesskit:parent] error: newuidmap 7 failed"), [], True),
        (_ended("buildkitd: could not read config: toml: line 1"), [], False),
        (_ended("mount: operation not permitted", reason="OOMKilled"), [], False),
        (_stuck("RunContainerError", "OCI runtime create failed: idmap mounts are not supported"), [], True),
        (_stuck("RunContainerError", 'exec: "buildkitd": executable file not found in $PATH'), [], False),
        (_stuck("CreateContainerConfigError", 'secret "x" not found'), [], False),
        (_stuck("ErrImagePull", "not found", image="moby/buildkit:v1-rootless"), [], True),
        (_stuck("ErrImagePull", "not found", image="moby/buildkit:v1"), [], False),
        (_pod(None, **USERNS), [_event("p", "FailedCreatePodSandBox", 'handler "" does not support user namespaces')], True),
        (_pod(None, **USERNS), [_event("p", "FailedCreatePodSandBox", "network plugin is not ready")], False),
        (_pod(), [_event("p", "FailedCreatePodSandBox", "open /proc/1/ns: permission denied")], False),
    ],
)
def test_level_matters_only_where_the_failure_is_about_what_a_lower_one_does_without(
    pod: JsonObject, events: list[JsonObject], matters: bool
) -> None:
    pod = copy.deepcopy(pod)
    if pod.get("status"):
        pod["metadata"] |= USERNS
    assert explain_pod(pod, events).level_matters is matters


def test_init_container_that_fails_is_not_the_levels_matter() -> None:
    ended = {"terminated": {"reason": "Error", "exitCode": 1, "message": "cannot mount binfmt_misc: operation not permitted"}}
    state = {"name": "binfmt", "ready": False, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "x"}}, "lastState": ended}
    found = explain_pod(_pod({"conditions": [{"type": "PodScheduled", "status": "True"}], "initContainerStatuses": [state]}))

    assert "binfmt of pod b-amd64-0 ended with exit code 1" in found.text
    assert not found.level_matters


@pytest.mark.parametrize(
    ("said", "matters"),
    [
        ('admission webhook "w" denied the request: no hostUsers', True),
        ("exceeded quota: q", False),
        ('serviceaccount "x" not found', False),
    ],
)
def test_level_matters_where_somebody_refuses_the_pod_for_what_it_is(said: str, matters: bool) -> None:
    message = f'create Pod b-amd64-0 in StatefulSet b-amd64 failed error: pods "b-amd64-0" is forbidden: {said}'

    assert _explain_set(_event("s", "FailedCreate", message)).level_matters is matters


def test_pod_whose_user_namespace_was_dropped_is_told_before_all_else() -> None:
    exposed = _pod(None, annotations=USERNS["annotations"])
    found = explain_pool(PoolView(namespace="n", architecture="amd64", stateful_set=SET, pods=[exposed]))

    assert "dropped hostUsers of b-amd64-0" in found.text
    assert (found.patience, found.level_matters) == (0.0, True)
