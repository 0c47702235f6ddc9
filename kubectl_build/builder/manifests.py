"""A builder's Kubernetes objects, rendered from its spec. Pure: the same spec always gives the same objects."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kubectl_build.builder import names
from kubectl_build.builder.buildkitd_config import CONFIG_FILE, ca_file, render_buildkitd_config, secret_files
from kubectl_build.builder.pod import pod_template
from kubectl_build.builder.spec import BuilderSpec
from kubectl_build.builder.spec_yaml import KEY, dump_spec, dump_yaml
from kubectl_build.builder.volume import claim_fields
from kubectl_build.model.json import JsonObject
from kubectl_build.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """The objects of one builder. `secret` is None when no certificate or key is needed; `stateful_sets` is by architecture."""

    config_map: JsonObject
    network_policy: JsonObject
    secret: JsonObject | None
    stateful_sets: Mapping[str, JsonObject]

    @property
    def objects(self) -> tuple[JsonObject, ...]:
        """All of them, in the order in which they are to be made."""
        return (self.config_map, self.network_policy, *([self.secret] if self.secret else []), *self.stateful_sets.values())


def render(
    name: str, namespace: str, spec: BuilderSpec, architectures: Sequence[str], *, levels: Mapping[str, str] | None = None
) -> Manifests:
    """Render builder `name` with a pool for each of `architectures` (values of kubernetes.io/arch).

    `levels` are the security levels of pools, by architecture, where that is not what the spec asks for: for "auto" one was chosen.
    An empty `namespace` leaves the choice to whoever applies the objects. A StatefulSet has `replicas` only when the spec has. The Secret
    lacks client files whose content is not known, so it must not be applied from a spec that was read back from the cluster.
    """
    config = render_buildkitd_config(spec)
    of_pool = {arch: replace(spec, security=(levels or {}).get(arch, spec.security)) for arch in architectures}
    return Manifests(
        config_map={
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": _metadata(name, namespace, {**spec.pod.labels, **names.labels(name)}),
            "data": {KEY: dump_spec(spec), CONFIG_FILE: config},
        },
        network_policy=_network_policy(name, namespace, spec),
        secret=_secret(name, namespace, spec),
        stateful_sets={arch: _stateful_set(name, namespace, own, arch, config) for arch, own in of_pool.items()},
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
        "metadata": _metadata(names.certificates_name(name), namespace, {**spec.pod.labels, **names.labels(name)}),
        "type": "Opaque",
        "data": {file: base64.b64encode(content.encode()).decode() for file, content in sorted(contents.items())},
    }


def _network_policy(name: str, namespace: str, spec: BuilderSpec) -> JsonObject:
    """Nobody connects to a builder's pods: no port is open there, and steps of builds are not to open one. They may connect to anything."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(name, namespace, {**spec.pod.labels, **names.labels(name)}),
        "spec": {"podSelector": {"matchLabels": names.labels(name)}, "policyTypes": ["Ingress"]},
    }


def _stateful_set(name: str, namespace: str, spec: BuilderSpec, architecture: str, config: str) -> JsonObject:
    own = names.labels(name, architecture)
    pod = pod_template(name, spec, architecture)
    # What is written on the pods last, so that it tells of all else.
    pod["metadata"]["annotations"][names.ANNOTATION_CONFIG_HASH] = _config_hash(spec, pod, config)
    metadata = _metadata(names.pool_name(name, architecture), namespace, {**spec.pod.labels, **own})
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {**metadata, **({"annotations": dict(spec.pod.annotations)} if spec.pod.annotations else {})},
        "spec": {
            **({"replicas": spec.replicas} if spec.replicas is not None else {}),
            # Cannot be changed later, so it has none of the labels that people choose.
            "selector": {"matchLabels": own},
            # The API asks for a name here; nothing looks the pods up by DNS, so no Service of that name is made.
            "serviceName": names.pool_name(name, architecture),
            # One pod that cannot start must not hold back the others, and no running build is killed by a change.
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "OnDelete"},
            "template": pod,
            **claim_fields(spec.cache, own),
        },
    }


def _config_hash(spec: BuilderSpec, pod: JsonObject, config: str) -> str:
    """Changes whenever a running pod would differ from a new one: the pod itself, buildkitd.toml, the contents of its files."""
    authorities = {host: settings.ca for host, settings in spec.registries.items()}
    files = {file: value.digest for file, value in spec.client_files.items()}
    text = json.dumps([pod, config, authorities, files], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
