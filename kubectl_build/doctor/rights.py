"""Checks of what this user may do. Everybody may ask that of the API server (SelfSubjectAccessReview)."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from enum import Enum

from kubectl_build.builder.roles import BUILD, CREATE, nodes_role
from kubectl_build.cluster.resources import (
    CONFIGMAPS,
    EVENTS,
    LEASES,
    NETWORKPOLICIES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    SECRETS,
    STATEFULSETS,
    Resource,
)
from kubectl_build.doctor.finding import Finding, note, ok, problem
from kubectl_build.doctor.patient import Patient
from kubectl_build.values import dataclass


class Need(Enum):
    """What a right is needed for."""

    BUILD = "build"
    CREATE = "create"
    MORE = "more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """Verbs on a resource. `without` is what follows where they are missing."""

    resource: Resource
    verbs: tuple[str, ...]
    need: Need
    without: str
    subresource: str = ""
    builder_only: bool = False

    @property
    def target(self) -> str:
        """The resource as RBAC names it."""
        return self.resource.qualified + (f"/{self.subresource}" if self.subresource else "")


_NO_CREATE = "no builder can be made or changed"

RIGHTS = (
    Right(resource=PODS, verbs=("list",), need=Need.BUILD, without="no builder can be found"),
    Right(resource=PODS, subresource="exec", verbs=("get",), need=Need.BUILD, without="no daemon can be reached"),
    Right(
        resource=PODS, subresource="exec", verbs=("create",), need=Need.MORE, without="API servers from v1.35 on let you reach no daemon"
    ),
    Right(resource=PODS, verbs=("get", "watch"), need=Need.MORE, without="why a pod was lost is told late or not at all"),
    Right(resource=CONFIGMAPS, verbs=("get", "list"), need=Need.MORE, without="the builder's configuration is read from its pods"),
    Right(resource=STATEFULSETS, verbs=("get", "list", "watch"), need=Need.MORE, without="how many pods there should be is not known"),
    Right(resource=STATEFULSETS, subresource="scale", verbs=("patch",), need=Need.MORE, without="a builder that is stopped cannot be used"),
    Right(resource=EVENTS, verbs=("list", "watch"), need=Need.MORE, without="why a pod does not start is told with fewer words"),
    Right(
        resource=SECRETS,
        verbs=("get",),
        need=Need.MORE,
        builder_only=True,
        without="the registry secret that is named like the builder is not used",
    ),
    Right(resource=LEASES, verbs=("list", "create", "patch", "delete"), need=Need.MORE, without="who builds just now is not seen"),
    Right(resource=NODES, verbs=("list",), need=Need.MORE, without="which architectures the nodes have is not known"),
    Right(resource=CONFIGMAPS, verbs=("create", "patch", "delete"), need=Need.CREATE, without=_NO_CREATE),
    Right(resource=STATEFULSETS, verbs=("create", "patch", "delete"), need=Need.CREATE, without=_NO_CREATE),
    Right(resource=SECRETS, verbs=("create", "patch", "delete"), need=Need.CREATE, without="no builder with certificates can be made"),
    Right(
        resource=NETWORKPOLICIES,
        verbs=("create", "patch", "delete"),
        need=Need.CREATE,
        without="builders are made without a NetworkPolicy, and open no port all the same",
    ),
    Right(
        resource=PERSISTENTVOLUMECLAIMS,
        verbs=("list", "delete"),
        need=Need.CREATE,
        without="the claims of a builder that is removed stay",
    ),
    Right(resource=PODS, verbs=("create",), need=Need.CREATE, without="which security the namespace admits is found by trying"),
    Right(resource=PODS, verbs=("patch",), need=Need.CREATE, without="autoscalers are not asked to leave a pod that builds alone"),
    Right(resource=PODS, verbs=("delete",), need=Need.CREATE, without="pods of an earlier configuration are not replaced"),
)


async def check_rights(patient: Patient) -> list[Finding]:
    """Ask for every right, at once, and tell what is missing with the Role that has it."""
    kube = patient.cluster

    async def missing(right: Right) -> tuple[str, ...]:
        name = patient.name if right.builder_only else ""
        asked = (kube.can_i(verb, right.resource, subresource=right.subresource, name=name) for verb in right.verbs)
        answers = await asyncio.gather(*asked)
        return tuple(verb for verb, allowed in zip(right.verbs, answers, strict=True) if not allowed)

    lacking = await asyncio.gather(*map(missing, RIGHTS))
    lacks = [(right, verbs) for right, verbs in zip(RIGHTS, lacking, strict=True) if verbs]
    user = await patient.user()
    blind = any(right.target == "pods" and "list" in verbs for right, verbs in lacks)
    must_create = not blind and patient.address is None and await patient.builder() is None
    found = [_finding(right, verbs, patient, user, must_create=must_create) for right, verbs in lacks if _matters(right, patient)]
    needs = {right.need for right, _ in lacks}
    if Need.BUILD not in needs:
        found.insert(0, ok("you may build: list pods, and run commands in them"))
    if Need.CREATE not in needs:
        found.insert(1, ok("you may create and change builders"))
    return found


def _matters(right: Right, patient: Patient) -> bool:
    """Whether it does: for a daemon at an address nothing is created."""
    return patient.address is None or right.need is Need.BUILD


def _finding(right: Right, verbs: Sequence[str], patient: Patient, user: str, *, must_create: bool) -> Finding:
    where = f' in namespace "{patient.cluster.namespace}"' if right.resource.namespaced else ""
    target = right.target + (f' "{patient.name}"' if right.builder_only else "")
    words = f"you may not {', '.join(verbs)} {target}{where}"
    role, command = _grant(right, patient.cluster.namespace, user)
    has_it = f"; the {role} of manifests/ has the right"
    if right.need is Need.BUILD:
        return problem(words, right.without + has_it, command)
    if must_create and "create" in verbs and right.resource in (CONFIGMAPS, STATEFULSETS):
        return problem(words, f'builder "{patient.name}" is not there, and you cannot make it{has_it}', command)
    return note(words, right.without + has_it, command)


def _grant(right: Right, namespace: str, user: str) -> tuple[str, str]:
    """The Role in words, and what somebody with more rights types when it is there."""
    account = user.removeprefix("system:serviceaccount:")
    given = f"--serviceaccount={account}" if account != user else f"--user={shlex.quote(user)}"
    if not right.resource.namespaced:
        name = nodes_role()["metadata"]["name"]
        return f"ClusterRole {name}", f"kubectl create clusterrolebinding {name} --clusterrole={name} {given}"
    name = CREATE if right.need is Need.CREATE else BUILD
    return f"Role {name}", f"kubectl create rolebinding {name} -n {namespace} --role={name} {given}"
