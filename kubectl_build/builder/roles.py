"""The rights that people need, as Roles that an admin can apply. Pure; `manifests/` has them as files."""

from __future__ import annotations

from collections.abc import Sequence

from kubectl_build.builder.defaults import DEFAULTS_NAME, DEFAULTS_NAMESPACE
from kubectl_build.builder.names import DEFAULT_BUILDER
from kubectl_build.model.json import JsonObject

_API = "rbac.authorization.k8s.io"


def build_role(builder: str = DEFAULT_BUILDER) -> JsonObject:
    """For people who build with a builder that is there. The first two rules are what a build needs, the others make it say more."""
    return _role(
        "kubectl-build",
        [
            _rule("", ["pods"], ["get", "list", "watch"]),
            # The API server asks for `get` when exec comes over a WebSocket, newer ones for `create` as well.
            _rule("", ["pods/exec"], ["get", "create"]),
            _rule("", ["configmaps", "events"], ["get", "list", "watch"]),
            _rule("apps", ["statefulsets"], ["get", "list", "watch"]),
            # The registry secret that is used when none is named.
            _rule("", ["secrets"], ["get"], names=[builder]),
        ],
    )


def create_role() -> JsonObject:
    """For people who make and remove builders, also by building where there is none."""
    return _role(
        "kubectl-buildkit",
        [
            _rule("", ["configmaps", "secrets"], ["get", "list", "create", "patch", "delete"]),
            _rule("apps", ["statefulsets"], ["get", "list", "watch", "create", "patch", "delete"]),
            _rule("networking.k8s.io", ["networkpolicies"], ["get", "list", "create", "patch", "delete"]),
            _rule("", ["pods"], ["get", "list", "watch", "delete"]),
            _rule("", ["pods/exec"], ["get", "create"]),
            _rule("", ["events"], ["get", "list", "watch"]),
        ],
    )


def nodes_role() -> JsonObject:
    """For people who build: which architectures the nodes have. Nodes are in no namespace, so this is a ClusterRole."""
    return {
        "apiVersion": f"{_API}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "kubectl-build-nodes"},
        "rules": [_rule("", ["nodes"], ["get", "list"])],
    }


def defaults_role() -> tuple[JsonObject, JsonObject]:
    """For everybody who is logged in: reading the defaults in kube-public, which Kubernetes grants to nobody."""
    role = _role(DEFAULTS_NAME, [_rule("", ["configmaps"], ["get"], names=[DEFAULTS_NAME])], namespace=DEFAULTS_NAMESPACE)
    binding = {
        "apiVersion": f"{_API}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": DEFAULTS_NAME, "namespace": DEFAULTS_NAMESPACE},
        "roleRef": {"apiGroup": _API, "kind": "Role", "name": DEFAULTS_NAME},
        "subjects": [{"apiGroup": _API, "kind": "Group", "name": "system:authenticated"}],
    }
    return role, binding


def _role(name: str, rules: Sequence[JsonObject], *, namespace: str = "") -> JsonObject:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": f"{_API}/v1", "kind": "Role", "metadata": metadata, "rules": list(rules)}


def _rule(group: str, resources: Sequence[str], verbs: Sequence[str], *, names: Sequence[str] = ()) -> JsonObject:
    rule: JsonObject = {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
    if names:
        rule["resourceNames"] = list(names)
    return rule
