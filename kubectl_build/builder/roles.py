"""The rights that people need, as Roles that an admin can apply. Pure; `manifests/` has them as files."""

from __future__ import annotations

from collections.abc import Sequence

from kubectl_build.builder.defaults import DEFAULTS_NAME, DEFAULTS_NAMESPACE
from kubectl_build.builder.names import DEFAULT_BUILDER
from kubectl_build.errors import Forbidden
from kubectl_build.model.json import JsonObject

BUILD = "kubectl-build"
CREATE = "kubectl-buildkit"
VIEW = "kubectl-build-view"
NODES = "kubectl-build-nodes"
COLLECT = "kubectl-build-gc"

_API = "rbac.authorization.k8s.io"
_READ = ("get", "list", "watch")


def build_role(builder: str = DEFAULT_BUILDER) -> JsonObject:
    """For people who build with a builder that is there. The first two rules are what a build needs, the others make it say more."""
    return _role(BUILD, _build_rules(builder))


def create_role(builder: str = DEFAULT_BUILDER) -> JsonObject:
    """For people who make, change, stop and remove builders, also by building where there is none. It has all of `build_role`."""
    write = (*_READ, "create", "patch", "delete")
    return _role(
        CREATE,
        [
            *_build_rules(builder),
            _rule("", ["configmaps", "secrets"], write),
            _rule("apps", ["statefulsets"], write),
            _rule("networking.k8s.io", ["networkpolicies"], write),
            _rule("", ["persistentvolumeclaims"], ["list", "delete"]),
            # Those of builders whose cache is in claims: what is to go with a builder is deleted with it.
            _rule("", ["persistentvolumeclaims"], ["list", "delete"]),
            # Create is for dry runs, which tell what the namespace admits; patch for the annotations that autoscalers go by.
            _rule("", ["pods"], write),
        ],
    )


def view_role() -> JsonObject:
    """For people who look at builders: `ls` and `inspect`, but for what only the daemons know."""
    return _role(
        VIEW,
        [
            _rule("", ["pods", "configmaps", "events"], _READ),
            _rule("apps", ["statefulsets"], _READ),
            _rule("coordination.k8s.io", ["leases"], _READ),
        ],
    )


def nodes_role() -> JsonObject:
    """For people who build: which architectures the nodes have. Nodes are in no namespace, so this is a ClusterRole."""
    return {
        "apiVersion": f"{_API}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": NODES},
        "rules": [_rule("", ["nodes"], ["get", "list"])],
    }


def collect_role() -> JsonObject:
    """For the account that runs `kubectl buildkit gc`: stopping what is idle, and deleting the Leases of clients that are gone."""
    return _role(
        COLLECT,
        [
            _rule("", ["pods", "configmaps"], ["list"]),
            _rule("", ["pods/exec"], ["get", "create"]),
            _rule("apps", ["statefulsets"], ["get", "list", "patch"]),
            _rule("coordination.k8s.io", ["leases"], ["list", "delete"]),
        ],
    )


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


def rbac_objects(builder: str, namespace: str) -> tuple[JsonObject, ...]:
    """The Roles for those who use `builder` of `namespace`, and the ClusterRole for nodes. Whom they are given to is the admin's to say."""
    roles = (build_role(builder), create_role(builder), view_role())
    placed = ({**role, "metadata": {**role["metadata"], "namespace": namespace}} for role in roles)
    return (*placed, nodes_role())


def granting(missing: Forbidden) -> str:
    """The least of these Roles that grants the right that was missing, in words; "" when none does."""
    if missing.namespace is None:
        return f'ClusterRole "{NODES}"' if _grants(nodes_role(), missing) else ""
    role = next((role for role in (build_role(), create_role()) if _grants(role, missing)), None)
    return f'Role "{role["metadata"]["name"]}"' if role else ""


def _grants(role: JsonObject, missing: Forbidden) -> bool:
    plural, _, rest = missing.resource.partition("/")
    plural, _, group = plural.partition(".")
    resource = f"{plural}/{rest}" if rest else plural
    return any(
        group in rule["apiGroups"] and resource in rule["resources"] and missing.verb in rule["verbs"] and "resourceNames" not in rule
        for rule in role["rules"]
    )


def _build_rules(builder: str) -> list[JsonObject]:
    return [
        _rule("", ["pods"], _READ),
        # The API server asks for `get` when exec comes over a WebSocket, newer ones for `create` as well.
        _rule("", ["pods/exec"], ["get", "create"]),
        _rule("", ["configmaps", "events"], _READ),
        _rule("apps", ["statefulsets"], _READ),
        # Starts a builder that was stopped, and changes nothing else of it.
        _rule("apps", ["statefulsets/scale"], ["patch"]),
        # Each build has one, which tells the others who builds; any build deletes those of clients that are gone.
        _rule("coordination.k8s.io", ["leases"], [*_READ, "create", "patch", "delete"]),
        # The registry secret that is used when none is named.
        _rule("", ["secrets"], ["get"], names=[builder]),
    ]


def _role(name: str, rules: Sequence[JsonObject], *, namespace: str = "") -> JsonObject:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": f"{_API}/v1", "kind": "Role", "metadata": metadata, "rules": list(rules)}


def _rule(group: str, resources: Sequence[str], verbs: Sequence[str], *, names: Sequence[str] = ()) -> JsonObject:
    rule: JsonObject = {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
    if names:
        rule["resourceNames"] = list(names)
    return rule
