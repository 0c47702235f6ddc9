"""What the cluster holds from its start: the simulated architecture, DNS rights, the defaults for builders. Pure."""

from __future__ import annotations

import json
from typing import Any

from tests.cluster import layout
from tests.cluster.nodes import SIMULATED_ARCH_LABEL

_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_ADMISSION = "/apis/admissionregistration.k8s.io/v1beta1"
_POLICY = "simulated-node-architecture"
_DEFAULTS = "kubectl-build-defaults"

Objects = list[tuple[str, dict[str, Any]]]
"""API paths with the objects to apply there."""


def _role(kind: str, name: str, rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "rules": rules}


def _binding(kind: str, name: str, subject: dict[str, str]) -> dict[str, Any]:
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": f"{kind}Binding",
        "metadata": {"name": name},
        "roleRef": reference,
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", **subject}],
    }


def simulated_architecture() -> Objects:
    """Return the policy that makes a labelled node's architecture what its label says.

    The kubelet and the controller manager put the real one back within seconds, so every write of a node is corrected, not the first alone.
    """
    label = f"object.metadata.labels['{SIMULATED_ARCH_LABEL}']"
    labels = ", ".join(
        f'JSONPatch{{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("{key}"), value: {label}}}'
        for key in ("kubernetes.io/arch", "beta.kubernetes.io/arch")
    )
    info = f'[JSONPatch{{op: "add", path: "/status/nodeInfo/architecture", value: {label}}}]'
    expression = f"[{labels}] + (has(object.status) && has(object.status.nodeInfo) ? {info} : [])"
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1beta1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": _POLICY},
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "IfNeeded",
            "matchConstraints": {
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["nodes", "nodes/status"]}
                ]
            },
            "matchConditions": [
                {"name": "labelled", "expression": f"has(object.metadata.labels) && '{SIMULATED_ARCH_LABEL}' in object.metadata.labels"}
            ],
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1beta1",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": _POLICY},
        "spec": {"policyName": _POLICY},
    }
    return [
        (f"{_ADMISSION}/mutatingadmissionpolicies/{_POLICY}", policy),
        (f"{_ADMISSION}/mutatingadmissionpolicybindings/{_POLICY}", binding),
    ]


def dns_rights() -> Objects:
    """Return what CoreDNS reads."""
    rules = [
        {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    name = "system:coredns"
    return [
        (f"{_RBAC}/clusterroles/{name}", _role("ClusterRole", name, rules)),
        (f"{_RBAC}/clusterrolebindings/{name}", _binding("ClusterRole", name, {"kind": "User", "name": name})),
    ]


def defaults_yaml(registry_ca_pem: str) -> str:
    """Return `builder.yaml` of the defaults: the mirrors, and trust in KB_REGISTRY.

    KB_INSECURE_REGISTRY is missing on purpose: it takes registry.insecure=true on the output, which is a test.
    """
    registries: dict[str, Any] = {host: {"mirrors": [f"{layout.MIRROR}/{host}"]} for host in layout.MIRRORED_HOSTS}
    registries[layout.MIRROR] = {"http": True}
    registries[layout.REGISTRY] = {"ca": registry_ca_pem}
    return json.dumps({"registries": registries}, indent=2) + "\n"  # JSON is YAML


def builder_defaults(registry_ca_pem: str) -> Objects:
    """Return the ConfigMap `kubectl-build-defaults`, and the right of everybody who has logged in to read that one."""
    namespace = "/namespaces/kube-public"
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": _DEFAULTS},
        "data": {"builder.yaml": defaults_yaml(registry_ca_pem)},
    }
    rule = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [_DEFAULTS], "verbs": ["get"]}
    everybody = {"kind": "Group", "name": "system:authenticated"}
    return [
        (f"/api/v1{namespace}/configmaps/{_DEFAULTS}", config_map),
        (f"{_RBAC}{namespace}/roles/{_DEFAULTS}", _role("Role", _DEFAULTS, [rule])),
        (f"{_RBAC}{namespace}/rolebindings/{_DEFAULTS}", _binding("Role", _DEFAULTS, everybody)),
    ]


def trial_pod(arch: str) -> tuple[str, dict[str, Any]]:
    """Return path and value of a pod that shows that a node of `arch` takes pods, and leaves the builders' image there."""
    name = f"trial-{arch}"
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "kube-system"},
        "spec": {
            "nodeSelector": {"kubernetes.io/arch": arch},
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "trial", "image": layout.BUILDKIT_IMAGE, "command": ["true"]}],
        },
    }
    return f"/api/v1/namespaces/kube-system/pods/{name}", pod
