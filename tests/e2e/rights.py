"""What comes of a right that is missing, and the parts that tests of rights share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from tests.e2e.kubectl import Namespace, Result
from tests.e2e.users import rights

SECONDS = 15.0
"""How long an error may take to be told."""
STARTED = 60.0
"""How long a command may take that starts or ends pods on the way."""

BUILD, CREATE, VIEW, NODES = "kubectl-build", "kubectl-buildkit", "kubectl-build-view", "kubectl-build-nodes"
"""The Roles."""
STATEFULSETS = "statefulsets.apps"
POLICIES = "networkpolicies.networking.k8s.io"
LEASES = "leases.coordination.k8s.io"

NOWHERE = ("--platform=linux/amd64", "--scheduler-name=e2e-nobody")
"""A builder whose pods are never scheduled, so that it takes nothing from others."""


@dataclass(frozen=True, slots=True)
class Told:
    """What comes of a right that is missing: a note in `words`, or an error that names the right, the namespace and `role`.

    Nothing at all (no words) means that there is another way.
    """

    words: tuple[str, ...] = ()
    role: str = ""
    left: frozenset[str] = frozenset()
    """Objects that stay after it, where they do."""

    def check(self, result: Result, right: str, namespace: Namespace) -> None:
        verb, _, target = right.partition(" ")
        if self.role:
            resource = target.partition("=")[0]
            named = (verb, resource, f'namespace "{namespace.name}"', f'Role "{self.role}"')
            result.failed(4, *named, *self.words)
            assert result.stderr.count("error: ") == 1, str(result)
        else:
            result.ok().failed(0, *self.words)
            if not self.words:
                assert not lacks(result), str(result)
        assert result.seconds < (SECONDS if self.role else STARTED), str(result)


def lacks(result: Result) -> set[str]:
    """The rights that notes say are missing, but for those of which it depends on the time that something takes, and that of nodes."""
    return set(re.findall(r"you may not ([a-z]+ [a-z ]+)", result.stderr)) - {"list nodes", "patch pods", "list events"}


WELL = Told()


def refusal(role: str, *words: str) -> Told:
    return Told(words, role)


def note(*words: str, left: frozenset[str] = frozenset()) -> Told:
    return Told(words, left=left)


def slug(text: str) -> str:
    """A right, or several, as an object's name."""
    return "".join(character if character.isalnum() else "-" for character in text)[:60].rstrip("-")


def several(*rights: str) -> str:
    """Rights that are taken away at once, since nothing comes of any."""
    return ", ".join(rights)


def without(role: frozenset[str], taken: str) -> frozenset[str]:
    """The rights of `role` without one, or `several`."""
    rights = set(taken.split(", "))
    assert rights <= role, f"the Role does not grant: {rights - role}"
    return role - rights


def printed_roles(namespace: Namespace) -> dict[str, frozenset[str]]:
    """The rights of each Role that `create --with-rbac` prints, by the Role's name."""
    printed = namespace.kubectl("buildkit", "create", "--dry-run=client", "-o", "yaml", "--with-rbac", *NOWHERE).ok().stdout
    namespace.kubectl("apply", "--dry-run=server", "-f", "-", stdin=printed).ok()
    objects: list[dict[str, Any]] = list(yaml.safe_load_all(printed))
    found = {item["metadata"]["name"]: item for item in objects if item["kind"] in ("Role", "ClusterRole")}
    assert set(found) == {BUILD, CREATE, VIEW, NODES}
    assert all(item["metadata"].get("namespace") == namespace.name for item in found.values() if item["kind"] == "Role")
    return {name: rights(item) for name, item in found.items()}


def nowhere(namespace: Namespace, name: str) -> str:
    """Make a builder whose pods are never scheduled, as an admin, and return its name."""
    namespace.kubectl("buildkit", "create", name, *NOWHERE).ok()
    if not own_objects(namespace, name) >= {f"StatefulSet/{name}-amd64", f"ConfigMap/{name}"}:
        raise AssertionError(f"builder {name} is not whole: {own_objects(namespace, name)}")
    return name


def replicas(namespace: Namespace, name: str) -> str:
    """How many pods the builder's pool is to have."""
    return namespace.kubectl("get", "statefulset", f"{name}-amd64", "-o", "jsonpath={.spec.replicas}").ok().stdout


def own_objects(namespace: Namespace, name: str) -> set[str]:
    """What the builder has in the namespace, without its pods, which go when their set has gone."""
    return {item for item in namespace.objects() if item.partition("/")[2] in (name, f"{name}-amd64", f"{name}-certs")}
