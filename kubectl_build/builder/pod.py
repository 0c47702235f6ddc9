"""A builder's pod, rendered from its spec. Pure."""

from __future__ import annotations

from kubectl_build.builder import names
from kubectl_build.builder.buildkitd_config import CERTIFICATES_DIR, CONFIG_DIR, CONFIG_FILE, secret_files
from kubectl_build.builder.pod_template import merge_template
from kubectl_build.builder.security import Rung, rung
from kubectl_build.builder.shape import HARD, PodShape
from kubectl_build.builder.spec import BuilderSpec
from kubectl_build.builder.volume import VOLUME, pod_volume
from kubectl_build.model.json import JsonObject

GRACE_SECONDS = 60
"""How long a pod that is deleted may finish what it builds. No new build is sent to it."""

_DRAIN = "while buildctl debug histories | grep -q ^STARTED; do sleep 1; done"
"""Ends with the last build that the daemon runs, and with the grace period in any case. Only then is buildkitd told to end."""

_STARTUP_SECONDS = 600
"""A daemon with a large cache on a slow disk takes minutes to open it, and is not restarted for that. A crash is told at once anyway."""


def pod_template(name: str, spec: BuilderSpec, architecture: str) -> JsonObject:
    """The metadata and spec of the pods of one pool, the user's own template over it."""
    security = rung(spec.security, spec.image)
    metadata = {"labels": {**spec.pod.labels, **names.labels(name, architecture)}, "annotations": _annotations(spec, security)}
    pod = {"metadata": metadata, "spec": _pod_spec(name, spec, architecture, security)}
    return merge_template(pod, spec.pod.template) if spec.pod.template else pod


def _annotations(spec: BuilderSpec, security: Rung) -> JsonObject:
    annotations = {
        **spec.pod.annotations,
        "kubectl.kubernetes.io/default-container": names.CONTAINER,
        names.ANNOTATION_SECURITY: security.level,
    }
    if spec.platforms:
        annotations[names.ANNOTATION_PLATFORMS] = ",".join(str(platform) for platform in spec.platforms)
    return annotations


def _pod_spec(name: str, spec: BuilderSpec, architecture: str, security: Rung) -> JsonObject:
    state = pod_volume(spec.cache)
    grace = GRACE_SECONDS if spec.pod.grace_seconds is None else spec.pod.grace_seconds
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace,
        **security.pod,
        **_placement(name, spec.pod, architecture),
        **({"initContainers": [_binfmt_container(spec)]} if spec.qemu_install else {}),
        "containers": [_buildkitd_container(spec, security)],
        "volumes": [*([state] if state else []), {"name": "config", "projected": {"sources": _config_sources(name, spec)}}],
    }


def _placement(name: str, shape: PodShape, architecture: str) -> JsonObject:
    """Where the pods run and as whom. What was not asked for is left out, so that the namespace's own defaults hold."""
    result: JsonObject = {
        "nodeSelector": {**shape.node_selector, "kubernetes.io/os": "linux", "kubernetes.io/arch": architecture},
        "tolerations": [*tolerations(architecture), *shape.tolerations],
    }
    spread = [_spread(name, architecture, key) for key in shape.spread]
    asked = {
        "affinity": shape.affinity,
        "topologySpreadConstraints": spread,
        "priorityClassName": shape.priority_class,
        "serviceAccountName": shape.service_account,
        "imagePullSecrets": [{"name": secret} for secret in shape.image_pull_secrets],
        "runtimeClassName": shape.runtime_class,
        "schedulerName": shape.scheduler_name,
    }
    result.update({key: value for key, value in asked.items() if value})
    if shape.host_network:
        # Without this policy a pod in the node's network does not find the cluster's own names.
        result.update(hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet")
    return result


def _spread(name: str, architecture: str, key: str) -> JsonObject:
    return {
        "maxSkew": 1,
        "topologyKey": key.removesuffix(HARD),
        "whenUnsatisfiable": "DoNotSchedule" if key.endswith(HARD) else "ScheduleAnyway",
        "labelSelector": {"matchLabels": names.labels(name, architecture)},
    }


def tolerations(architecture: str) -> list[JsonObject]:
    """The taints that a pod of this pool accepts: its architecture's, and for a short time those of a node that is lost."""
    lost = [
        {"key": f"node.kubernetes.io/{state}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}
        for state in ("not-ready", "unreachable")
    ]
    return [{"key": "kubernetes.io/arch", "operator": "Equal", "value": architecture, "effect": "NoSchedule"}, *lost]


def _config_sources(name: str, spec: BuilderSpec) -> list[JsonObject]:
    # One projected volume, since a Secret cannot be mounted inside the read-only mount of a ConfigMap.
    sources: list[JsonObject] = [{"configMap": {"name": name, "items": [{"key": CONFIG_FILE, "path": CONFIG_FILE}]}}]
    files = secret_files(spec)
    if files:
        below = CERTIFICATES_DIR.removeprefix(f"{CONFIG_DIR}/")
        items = [{"key": file, "path": f"{below}/{file}", "mode": 0o400} for file in files]
        sources.append({"secret": {"name": names.certificates_name(name), "items": items}})
    return sources


def _buildkitd_container(spec: BuilderSpec, security: Rung) -> JsonObject:
    probe = {"exec": {"command": ["buildctl", "debug", "workers"]}}
    env = {
        # BuildKit cuts the log of a step by default, and often just where the error is.
        "BUILDKIT_STEP_LOG_MAX_SIZE": "-1",
        "BUILDKIT_STEP_LOG_MAX_SPEED": "-1",
        **spec.env,
    }
    return {
        "name": names.CONTAINER,
        "image": security.image,
        # A rootless daemon looks for its configuration elsewhere by itself.
        "args": ["--config", f"{CONFIG_DIR}/{CONFIG_FILE}", *security.args, *spec.buildkitd_flags],
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "resources": {kind: dict(amounts) for kind, amounts in spec.resources.items()},
        "securityContext": security.security_context,
        "startupProbe": {**probe, "periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": _STARTUP_SECONDS},
        "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", _DRAIN]}}},
        # No liveness probe: it would restart a daemon that is merely busy, with all that it builds.
        "readinessProbe": {**probe, "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 3},
        # The end of the log of a daemon that cannot start is then in the pod's status, where `list pods` suffices to read it.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": VOLUME, "mountPath": security.state_dir}, {"name": "config", "mountPath": CONFIG_DIR, "readOnly": True}],
    }


def _binfmt_container(spec: BuilderSpec) -> JsonObject:
    return {
        "name": names.INIT_CONTAINER,
        "image": spec.qemu_image,
        "args": ["--install", "all"],
        "securityContext": {"privileged": True},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
