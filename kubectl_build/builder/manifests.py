"""A builder's Kubernetes objects, rendered from its spec. Pure: the same spec always gives the same objects."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubectl_build.builder import names
from kubectl_build.builder.buildkitd_config import (
    CERTIFICATES_DIR,
    CONFIG_DIR,
    CONFIG_FILE,
    STATE_DIR,
    ca_file,
    render_buildkitd_config,
    secret_files,
)
from kubectl_build.builder.spec import BuilderSpec
from kubectl_build.builder.spec_yaml import KEY, dump_spec, dump_yaml
from kubectl_build.model.json import JsonObject

GRACE_SECONDS = 60
"""How long a pod that is deleted may finish what it builds: buildkitd takes no new builds after SIGTERM and ends with the last one."""

_STARTUP_SECONDS = 600
"""A daemon with a large cache on a slow disk takes minutes to open it, and is not restarted for that. A crash is told at once anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """The objects of one builder. `secret` is None when no certificate or key is needed; `stateful_sets` is by architecture."""

    config_map: JsonObject
    secret: JsonObject | None
    stateful_sets: Mapping[str, JsonObject]

    @property
    def objects(self) -> tuple[JsonObject, ...]:
        """All of them, in the order in which they are to be made."""
        return (self.config_map, *([self.secret] if self.secret else []), *self.stateful_sets.values())


def render(name: str, namespace: str, spec: BuilderSpec, architectures: Sequence[str]) -> Manifests:
    """Render builder `name` with a pool for each of `architectures` (values of kubernetes.io/arch).

    An empty `namespace` leaves the choice to whoever applies the objects. A StatefulSet has `replicas` only when the spec has. The Secret
    lacks client files whose content is not known, so it must not be applied from a spec that was read back from the cluster.
    """
    config = render_buildkitd_config(spec)
    return Manifests(
        config_map={
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": _metadata(name, namespace, names.labels(name)),
            "data": {KEY: dump_spec(spec), CONFIG_FILE: config},
        },
        secret=_secret(name, namespace, spec),
        stateful_sets={architecture: _stateful_set(name, namespace, spec, architecture, config) for architecture in architectures},
    )


def to_yaml(objects: Sequence[JsonObject]) -> str:
    """The objects as one stream of YAML documents, as kubectl reads it."""
    return "---\n".join(dump_yaml(item) for item in objects)


def _metadata(name: str, namespace: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {"name": name, **({"namespace": namespace} if namespace else {}), "labels": dict(labels)}


def _secret(name: str, namespace: str, spec: BuilderSpec) -> JsonObject | None:
    if not secret_files(spec):
        return None
    contents = {ca_file(host): settings.ca for host, settings in spec.registries.items() if settings.ca}
    contents.update({file: value.content for file, value in spec.client_files.items() if value.content is not None})
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(names.certificates_name(name), namespace, names.labels(name)),
        "type": "Opaque",
        "data": {file: base64.b64encode(content.encode()).decode() for file, content in sorted(contents.items())},
    }


def _stateful_set(name: str, namespace: str, spec: BuilderSpec, architecture: str, config: str) -> JsonObject:
    labels = names.labels(name, architecture)
    pod = _pod_spec(name, spec, architecture)
    annotations = {"kubectl.kubernetes.io/default-container": names.CONTAINER, names.ANNOTATION_SECURITY: spec.security}
    if spec.platforms:
        annotations[names.ANNOTATION_PLATFORMS] = ",".join(str(platform) for platform in spec.platforms)
    annotations[names.ANNOTATION_CONFIG_HASH] = _config_hash(spec, pod, config)
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": _metadata(names.pool_name(name, architecture), namespace, labels),
        "spec": {
            **({"replicas": spec.replicas} if spec.replicas is not None else {}),
            "selector": {"matchLabels": labels},
            # The API asks for a name here; nothing looks the pods up by DNS, so no Service of that name is made.
            "serviceName": names.pool_name(name, architecture),
            # One pod that cannot start must not hold back the others, and no running build is killed by a change.
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "OnDelete"},
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod},
        },
    }


def _config_hash(spec: BuilderSpec, pod: JsonObject, config: str) -> str:
    """Changes whenever a running pod would differ from a new one: the pod's own spec, buildkitd.toml, the contents of its files."""
    authorities = {host: settings.ca for host, settings in spec.registries.items()}
    files = {file: value.digest for file, value in spec.client_files.items()}
    platforms = [str(platform) for platform in spec.platforms]
    text = json.dumps([pod, config, authorities, files, platforms], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _pod_spec(name: str, spec: BuilderSpec, architecture: str) -> JsonObject:
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "nodeSelector": {"kubernetes.io/os": "linux", "kubernetes.io/arch": architecture},
        "tolerations": tolerations(architecture),
        **({"initContainers": [_binfmt_container(spec)]} if spec.qemu_install else {}),
        "containers": [_buildkitd_container(spec)],
        "volumes": [{"name": "state", "emptyDir": {}}, {"name": "config", "projected": {"sources": _config_sources(name, spec)}}],
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


def _buildkitd_container(spec: BuilderSpec) -> JsonObject:
    probe = {"exec": {"command": ["buildctl", "debug", "workers"]}}
    env = {
        # BuildKit cuts the log of a step by default, and often just where the error is.
        "BUILDKIT_STEP_LOG_MAX_SIZE": "-1",
        "BUILDKIT_STEP_LOG_MAX_SPEED": "-1",
        **spec.env,
    }
    return {
        "name": names.CONTAINER,
        "image": spec.image,
        "args": ["--config", f"{CONFIG_DIR}/{CONFIG_FILE}"],
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "resources": {kind: dict(amounts) for kind, amounts in spec.resources.items()},
        "securityContext": {"privileged": True},
        "startupProbe": {**probe, "periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": _STARTUP_SECONDS},
        # No liveness probe: it would restart a daemon that is merely busy, with all that it builds.
        "readinessProbe": {**probe, "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 3},
        # The end of the log of a daemon that cannot start is then in the pod's status, where `list pods` suffices to read it.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "state", "mountPath": STATE_DIR}, {"name": "config", "mountPath": CONFIG_DIR, "readOnly": True}],
    }


def _binfmt_container(spec: BuilderSpec) -> JsonObject:
    return {
        "name": names.INIT_CONTAINER,
        "image": spec.qemu_image,
        "args": ["--install", "all"],
        "securityContext": {"privileged": True},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
