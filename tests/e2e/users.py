"""Users of the cluster with exactly the rights that a test gives them: ServiceAccounts, whose tokens are all that they have."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.e2e.kubectl import Kubectl, Namespace

_RBAC = "rbac.authorization.k8s.io"
_GRANTED_SECONDS = 10.0


def rule(right: str) -> dict[str, Any]:
    """The rule of a Role for a right such as "list statefulsets.apps" or "get secrets/buildkit" (of one name: "get secrets=buildkit")."""
    verb, _, target = right.partition(" ")
    target, _, name = target.partition("=")
    resource, _, subresource = target.partition("/")
    plural, _, group = resource.partition(".")
    found: dict[str, Any] = {"apiGroups": [group], "resources": [f"{plural}/{subresource}" if subresource else plural], "verbs": [verb]}
    return {**found, "resourceNames": [name]} if name else found


def rights(role: dict[str, Any]) -> frozenset[str]:
    """The rights of a Role, each as `rule` takes it."""
    found = set()
    for item in role["rules"]:
        for group in item["apiGroups"]:
            for resource in item["resources"]:
                plural, _, subresource = resource.partition("/")
                target = plural + (f".{group}" if group else "") + (f"/{subresource}" if subresource else "")
                for name in item.get("resourceNames", [""]):
                    found |= {f"{verb} {target}" + (f"={name}" if name else "") for verb in item["verbs"]}
    return frozenset(found)


def add_users(namespace: Namespace, users: dict[str, Iterable[str]]) -> None:
    """Make ServiceAccounts, each with its rights in the namespace."""
    objects: list[dict[str, Any]] = []
    for name, given in users.items():
        metadata = {"name": name}
        objects += [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
            {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": [rule(right) for right in sorted(given)]},
            {
                "apiVersion": f"{_RBAC}/v1",
                "kind": "RoleBinding",
                "metadata": metadata,
                "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace.name}],
            },
        ]
    namespace.kubectl.apply(*objects)


def as_user(namespace: Namespace, name: str, directory: Path, *, having: Sequence[str] = ()) -> Kubectl:
    """kubectl with the token of a ServiceAccount, and nothing else, once the API server knows that it has the rights in `having`."""
    token = namespace.kubectl("create", "token", name).ok().stdout.strip()
    config = namespace.kubectl("config", "view", "--minify", "--flatten", "-o", "json").json()
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    (directory / "kubeconfig").write_text(json.dumps(config))
    kubectl = namespace.kubectl.with_env(KUBECONFIG=str(directory / "kubeconfig"))
    until = time.monotonic() + _GRANTED_SECONDS
    for right in having:
        verb, _, target = right.partition(" ")
        resource, _, subresource = target.partition("=")[0].partition("/")
        while kubectl("auth", "can-i", verb, resource, f"--subresource={subresource}").code != 0:
            assert time.monotonic() < until, f"{name} was not given the right to {right}"
    return kubectl
