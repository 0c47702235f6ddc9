"""Why a pool is not ready, in words: from its StatefulSet, its pods' conditions and states, and the events about both. Pure.

Reasons and messages are the kubelet's, the scheduler's and the controllers' own (Kubernetes 1.34: pkg/kubelet/images/types.go,
pkg/kubelet/container/sync_result.go, pkg/kubelet/events/event.go, pkg/controller/statefulset).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kubectl_build.builder import names
from kubectl_build.builder.security import (
    HOST_USERS_DROPPED,
    PRIVILEGED,
    blames_level,
    is_rootless_image,
    keeps_host_users,
    level_of,
    pod_security_hint,
    pod_security_text,
)
from kubectl_build.cluster.resources import PERSISTENTVOLUMECLAIMS
from kubectl_build.model.json import JsonObject
from kubectl_build.values import dataclass

_IMAGE_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed"})
_IMAGE_FINAL_REASONS = frozenset({"InvalidImageName", "ErrImageNeverPull"})
_CONTAINER_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError"})

_WRONG_MOUNT = re.compile(
    r"(secret|configmap) \S+ not found|references non-existent|type check failed|wrong fs type|unknown filesystem|invalid mount config"
)
"""What a mount fails with until somebody mends it. All else may pass, and does often: a claim that is bound in a moment, a disk that is
still attached elsewhere, a driver that begins on a new node, a kubelet that waits for the API server. Some of it takes minutes."""
_SLOW_NODE = re.compile(r"failed to sync \w+ cache|object \S+ not registered|DeadlineExceeded|failed to reserve container name")
"""What the kubelet says when the API server was slow to give it a ConfigMap or Secret (pkg/kubelet/util/manager), or the runtime to make
the container. It tries again."""

_AT_ONCE = 1.5
_SHORT = 4.0
_LONG = 10.0
"""Seconds for which a failure must last before it is final. All are told within 15 s; the long one covers the kubelet's first retry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Why a pool is not ready. `reason` is Kubernetes' own word.

    `patience` is for how many seconds the same reason may last before waiting longer is pointless; None while there is hope.
    `level_matters` tells that a pod of another security level may start.
    """

    text: str
    reason: str = ""
    hint: str | None = None
    patience: float | None = None
    level_matters: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolView:
    """What is known of one pool. `stateful_set` is None when it is not there or may not be read; `events` are in any order."""

    namespace: str
    architecture: str
    stateful_set: JsonObject | None
    pods: Sequence[JsonObject]
    events: Sequence[JsonObject] = ()


def explain_pool(view: PoolView) -> Diagnosis:
    """Say why none of the pool's pods is ready; call it only then. Of several pods, the one with most hope speaks."""
    live = [pod for pod in view.pods if not pod["metadata"].get("deletionTimestamp")]
    exposed = next((pod for pod in live if not keeps_host_users(pod)), None)
    if exposed is not None:
        return explain_exposed(exposed["metadata"]["name"])
    if live:
        found = [explain_pod(pod, _about(pod, view.events)) for pod in live]
        return next((item for item in found if item.patience is None), found[0])
    if view.pods:
        pod = view.pods[0]
        node = (pod.get("spec") or {}).get("nodeName", "")
        return Diagnosis(text=f"pod {pod['metadata']['name']} on node {node} is still terminating", reason="Terminating")
    if view.stateful_set is None:
        return Diagnosis(text=f"no pod of architecture {view.architecture} is there yet")
    return _explain_no_pod(view, view.stateful_set)


def explain_exposed(what: str) -> Diagnosis:
    """For a pod or StatefulSet that was to be in a user namespace, and is not."""
    return Diagnosis(
        text=f"the API server does not know user namespaces: it dropped hostUsers of {what}, whose pod would be privileged on its node",
        reason=HOST_USERS_DROPPED,
        hint="use --security auto",
        patience=0.0,
        level_matters=True,
    )


def _explain_no_pod(view: PoolView, stateful_set: JsonObject) -> Diagnosis:
    name = stateful_set["metadata"]["name"]
    newest = _newest(_about(stateful_set, view.events))
    if newest is None or newest.get("reason") != "FailedCreate":
        return Diagnosis(text=f"StatefulSet {name} has made no pod yet")
    message = _one_line(newest.get("message", ""))
    if "violates PodSecurity" in message:
        return Diagnosis(
            text=pod_security_text(view.namespace, _after(message, "is forbidden: ")),
            reason="PodSecurity",
            hint=pod_security_hint(view.namespace),
            patience=_AT_ONCE,
        )
    if "exceeded quota" in message:
        return Diagnosis(
            text=f'a quota of namespace "{view.namespace}" leaves no room for pod {name}-0: {_after(message, "is forbidden: ")}',
            reason="QuotaExceeded",
            hint=f"kubectl describe resourcequota -n {view.namespace}",
            patience=_SHORT,
        )
    return Diagnosis(
        text=f"the pod of StatefulSet {name} cannot be made: {_after(message, ' failed error: ')}",
        reason="FailedCreate",
        hint=f"kubectl describe statefulset {name} -n {view.namespace}",
        patience=_creation_patience(message),
        # Whoever judges pods may refuse this level only.
        level_matters="denied" in message or "hostUsers" in message,
    )


def _creation_patience(message: str) -> float | None:
    """For how long the API server's refusal of a pod may last."""
    if 'serviceaccount "default" not found' in message:
        return None  # every new namespace gets one, in its time
    return _LONG if "failed calling webhook" in message else _SHORT


def explain_pod(pod: JsonObject, events: Sequence[JsonObject] = ()) -> Diagnosis:
    """Say why this pod is not ready. `events` are those about it and about its claims."""
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    if status.get("phase") == "Failed":
        detail = ": ".join(filter(None, (status.get("reason", ""), _one_line(status.get("message", "")))))
        return Diagnosis(
            text=f"pod {name} failed and is made anew: {detail or 'no reason is given'}", reason=status.get("reason", "Failed")
        )
    unscheduled = _explain_scheduling(pod, events)
    if unscheduled is not None:
        return unscheduled
    states = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    for state in states:
        found = _explain_container(pod, state, events)
        if found is not None:
            return found
    return _explain_preparing(pod, [event for event in events if not _is_of_claim(event)])


def _explain_scheduling(pod: JsonObject, events: Sequence[JsonObject]) -> Diagnosis | None:
    name = pod["metadata"]["name"]
    condition = next((item for item in (pod.get("status") or {}).get("conditions") or () if item.get("type") == "PodScheduled"), None)
    if condition is None:
        return Diagnosis(text=f"pod {name} waits for the scheduler") if not pod["spec"].get("nodeName") else None
    if condition.get("status") == "True":
        return None
    told = _newest([event for event in events if _is_of_claim(event)])
    if told is not None and "PersistentVolumeClaim" in condition.get("message", ""):
        claim, why = told["involvedObject"]["name"], _one_line(told.get("message", ""))
        return Diagnosis(
            text=f"claim {claim} of pod {name} has no volume: {why or 'no reason is given'}",
            reason=told.get("reason") or "Unschedulable",
            hint=f"kubectl get storageclasses; kubectl describe pvc {claim} -n {_namespace(pod)}",
            patience=_LONG if "storageclass" in why and "not found" in why else None,
        )
    return Diagnosis(
        text=f"no node can take pod {name} now: {_one_line(condition.get('message', '')) or 'the scheduler gives no reason'}",
        reason=condition.get("reason") or "Unschedulable",
        hint="kubectl get nodes -L kubernetes.io/arch",
    )


def _explain_container(pod: JsonObject, state: JsonObject, events: Sequence[JsonObject]) -> Diagnosis | None:
    """What one container is stuck in, or None when it is not the one that is waited for."""
    name, container, image = pod["metadata"]["name"], state.get("name", ""), state.get("image", "")
    waiting = (state.get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason", ""), _one_line(waiting.get("message", ""))
    if reason in _IMAGE_REASONS | _IMAGE_FINAL_REASONS:
        return _explain_image(pod, image, reason, message, events)
    if reason in _CONTAINER_REASONS:
        return Diagnosis(
            text=f"container {container} of pod {name} cannot be started: {message or reason}",
            reason=reason,
            hint=_describe(pod),
            patience=None if _SLOW_NODE.search(message) else _LONG,
            level_matters=container == names.CONTAINER and blames_level(message),
        )
    ended = (state.get("lastState") or {}).get("terminated") or {}
    if reason == "CrashLoopBackOff" or (reason == "" and ended and not state.get("ready")):
        return _explain_crash(pod, container, ended, again=reason == "CrashLoopBackOff")
    if "running" in (state.get("state") or {}) and not state.get("ready"):
        doing = "registers emulators" if container == names.INIT_CONTAINER else "is starting"
        return Diagnosis(text=f"{container} of pod {name} {doing}")
    return None


def _explain_image(pod: JsonObject, image: str, reason: str, message: str, events: Sequence[JsonObject]) -> Diagnosis:
    if "ErrImagePull: " not in message and reason == "ImagePullBackOff":
        # Kubelets before 1.31 say the cause in an event only.
        failed = _newest([event for event in events if event.get("reason") == "Failed" and "pull image" in event.get("message", "")])
        message = _one_line(failed.get("message", "")) if failed else message
    detail = _after(_after(_after(message, "ErrImagePull: "), f'Failed to pull image "{image}": '), "desc = ")
    wrong = any(word in detail for word in ("not found", "unauthorized", "denied", "authorization failed", "no match for platform"))
    return Diagnosis(
        text=f'image "{image}" of pod {pod["metadata"]["name"]} cannot be pulled: {detail or reason}',
        reason=reason,
        hint=f"check the name and that the nodes may pull it; {_describe(pod)}",
        # A registry's own answer will be the same again; everything else gets the kubelet's first retry.
        patience=_AT_ONCE if wrong or reason in _IMAGE_FINAL_REASONS else _LONG,
        level_matters=is_rootless_image(image),
    )


def _explain_crash(pod: JsonObject, container: str, ended: JsonObject, *, again: bool) -> Diagnosis:
    name = pod["metadata"]["name"]
    if ended.get("reason") == "OOMKilled":
        why, hint = "was killed because it needed more memory than it may have (OOMKilled)", "give the builder more memory"
    else:
        why, hint = (
            f"ended with exit code {ended.get('exitCode', '?')}",
            f"kubectl logs {name} -c {container} -n {_namespace(pod)} --previous",
        )
    tail = [line.strip() for line in str(ended.get("message") or "").splitlines() if line.strip()][-3:]
    text = f"{container} of pod {name} {why}" + (": " + " | ".join(tail) if tail else "")
    blamed = container == names.CONTAINER and ended.get("reason") != "OOMKilled" and blames_level(" ".join(tail))
    reason, patience = ("CrashLoopBackOff", _SHORT) if again else ("Error", None)
    return Diagnosis(text=text, reason=reason, hint=hint, patience=patience, level_matters=blamed)


def _explain_preparing(pod: JsonObject, events: Sequence[JsonObject]) -> Diagnosis:
    """A pod that has its node and no container that runs: what the newest event says."""
    name, node = pod["metadata"]["name"], (pod.get("spec") or {}).get("nodeName", "")
    newest = _newest(events)
    reason = newest.get("reason", "") if newest else ""
    message = _one_line(newest.get("message", "")) if newest else ""
    if reason in ("FailedMount", "FailedAttachVolume"):
        patience = _LONG if _WRONG_MOUNT.search(message) else None
        return Diagnosis(text=f"a volume of pod {name} cannot be mounted: {message}", reason=reason, hint=_describe(pod), patience=patience)
    if reason == "FailedCreatePodSandBox":
        # A network that is not up yet heals; a runtime that cannot give the pod its user namespace does not.
        blamed = level_of(pod) != PRIVILEGED and blames_level(message)
        return Diagnosis(
            text=f"node {node} cannot set up pod {name}: {message}",
            reason=reason,
            hint=_describe(pod),
            patience=_LONG if blamed else None,
            level_matters=blamed,
        )
    if reason == "Pulling":
        return Diagnosis(text=f"node {node} is pulling the image of pod {name}: {message.removeprefix('Pulling image ')}", reason=reason)
    return Diagnosis(text=f"node {node} is preparing pod {name}")


def _about(item: JsonObject, events: Sequence[JsonObject]) -> list[JsonObject]:
    """The events about this very object, not about an earlier one of its name; and about the claims that a pod has."""
    uid = item["metadata"].get("uid")
    volumes = (item.get("spec") or {}).get("volumes") or ()
    claims = {claim["claimName"] for volume in volumes if (claim := volume.get("persistentVolumeClaim"))}
    about = [(event, event.get("involvedObject") or {}) for event in events]
    return [event for event, it in about if it.get("uid") == uid or (_is_of_claim(event) and it.get("name") in claims)]


def _is_of_claim(event: JsonObject) -> bool:
    return (event.get("involvedObject") or {}).get("kind") == PERSISTENTVOLUMECLAIMS.kind


def _newest(events: Sequence[JsonObject]) -> JsonObject | None:
    def when(event: JsonObject) -> str:
        series = event.get("series") or {}
        times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
        return str(next(filter(None, times), event["metadata"].get("creationTimestamp", "")))

    return max(events, key=when, default=None)


def _namespace(pod: JsonObject) -> str:
    return str(pod["metadata"].get("namespace", ""))


def _describe(pod: JsonObject) -> str:
    return f"kubectl describe pod {pod['metadata']['name']} -n {_namespace(pod)}"


def _one_line(text: object) -> str:
    return " ".join(str(text or "").split())


def _after(text: str, mark: str) -> str:
    return text.rpartition(mark)[2] if mark in text else text
