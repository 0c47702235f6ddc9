"""Choosing a pool's security level: the safest that its nodes, the API server and the namespace admit.

Nothing is changed here. What is asked: what the nodes say of their runtimes, and the API server, by a dry run, whether it would make
such a pod; only of a Pod does it tell what Pod Security thinks, a StatefulSet's dry run merely warns. What may not be asked counts as
admitted: when it is not, the pod itself tells, and `ensure_pools` goes one level down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from kubectl_build.builder import names
from kubectl_build.builder.manifests import render
from kubectl_build.builder.nodes import usable_architecture
from kubectl_build.builder.security import (
    AUTO,
    LADDER,
    PRIVILEGED,
    USERNS,
    keeps_host_users,
    level_of,
    objection,
    pod_security_hint,
    pod_security_text,
)
from kubectl_build.builder.spec import BuilderSpec
from kubectl_build.builder.together import together
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import NODES, PODS, STATEFULSETS
from kubectl_build.errors import ApiError, BuilderNotReady, Forbidden, Invalid, NotFound, UsageError
from kubectl_build.model.events import Note, Sink
from kubectl_build.model.json import JsonObject
from kubectl_build.values import dataclass

_PAGE = 500
_POLICIES = ("admission webhook", "ValidatingAdmissionPolicy", "denied the request", "denied request", "security context constraint")
"""How those who judge pods, beside Pod Security, begin or end a refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A pool's security level: `asked` for by name, or chosen `below` one that has been tried.

    `passed` are those above it, as far as they were looked at, each with the reason why not.
    """

    architecture: str
    level: str
    asked: bool
    below: str = ""
    passed: tuple[tuple[str, str], ...] = ()

    @property
    def note(self) -> Note:
        """Which level it is, and why."""
        is_first = not self.below and not self.passed
        why = "as asked for" if self.asked else "the safest there is" if is_first else "for want of a safer one"
        text = "; ".join(
            [f"security of pool {self.architecture}: {self.level}, {why}", *(f"not {what}: {why}" for what, why in self.passed)]
        )
        return Note(text=text, level="warning" if self.level == PRIVILEGED and not self.asked else "info")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    """Why a level is not possible; `pod_security` when it is the namespace's Pod Security that says so."""

    text: str
    pod_security: bool = False


async def choose_level(client: KubeClient, name: str, spec: BuilderSpec, architecture: str, *, below: str = "") -> Choice:
    """The security level of the pool of `architecture` of builder `name`: the one that `spec` names, else the safest that is admitted.

    `below` leaves out a level and those above it, which have been tried. Raises UsageError when the level that was named cannot be with
    what else the spec asks for, BuilderNotReady when none is admitted, ApiError.
    """
    asked = spec.security != AUTO
    levels = (spec.security,) if asked else LADDER[LADDER.index(below) + 1 :] if below else LADDER
    refusals: list[tuple[str, _Refusal]] = []
    for level in levels:
        against = _objection(level, spec)
        if against and asked:
            raise UsageError(f'a builder of security level "{level}" is not possible: {against}', hint="use --security auto")
        refusal = _Refusal(text=against) if against else await _refusal(client, name, spec, architecture, level)
        if refusal is None:
            passed = tuple((what, why.text) for what, why in refusals)
            return Choice(architecture=architecture, level=level, asked=asked, below=below, passed=passed)
        refusals.append((level, refusal))
    raise _none_left(client.namespace, name, refusals, asked=asked)


async def settle_levels(
    client: KubeClient, name: str, spec: BuilderSpec, architectures: Sequence[str], present: Mapping[str, JsonObject], emit: Sink
) -> dict[str, str]:
    """The security level of each pool that is to be. Those there are (StatefulSets, by architecture) keep theirs unless `spec` forbids it.

    Emits which are new, and why. Raises as choose_level does.
    """
    kept = {}
    for architecture in architectures:
        if architecture in present:
            level = level_of(present[architecture]["spec"]["template"])
            if spec.security in (AUTO, level) and not _objection(level, spec):
                kept[architecture] = level
    choices = await together(*(choose_level(client, name, spec, arch) for arch in architectures if arch not in kept))
    for choice in choices:
        emit(choice.note)
    return {**kept, **{choice.architecture: choice.level for choice in choices}}


async def preview_levels(client: KubeClient, name: str, spec: BuilderSpec, architectures: Sequence[str], emit: Sink) -> dict[str, str]:
    """What settle_levels would answer now, for objects that are only shown.

    A cluster that admits none is noted and no obstacle: they may be meant for another. Raises UsageError, ApiError, ApiUnreachable.
    """
    present: dict[str, JsonObject] = {}
    with suppress(Forbidden):
        found = await client.list(STATEFULSETS, label_selector=names.selector(name))
        present = {item["metadata"]["labels"].get(names.LABEL_ARCHITECTURE, ""): item for item in found.items}
    try:
        return await settle_levels(client, name, spec, architectures, present, emit)
    except (BuilderNotReady, NotFound) as error:
        emit(Note(text=error.message, level="warning"))
        return {}


def _objection(level: str, spec: BuilderSpec) -> str:
    asked, host_network = spec.security != AUTO, bool(spec.pod.host_network)
    return objection(level, image=spec.image, qemu_install=spec.qemu_install, host_network=host_network, asked=asked)


def _none_left(namespace: str, name: str, refusals: list[tuple[str, _Refusal]], *, asked: bool) -> BuilderNotReady:
    by_namespace = next((refusal for _, refusal in refusals if refusal.pod_security), None)
    if by_namespace is not None:
        text = pod_security_text(namespace, by_namespace.text)
        return BuilderNotReady(f'builder "{name}" cannot be started: {text}', reason="PodSecurity", hint=pod_security_hint(namespace))
    why = "; ".join(f"{level}: {refusal.text}" for level, refusal in refusals)
    hint = "use --security auto" if asked else "see: kubectl buildkit doctor"
    return BuilderNotReady(f'builder "{name}" cannot be started, as no security level is left ({why})', reason="Security", hint=hint)


async def _refusal(client: KubeClient, name: str, spec: BuilderSpec, architecture: str, level: str) -> _Refusal | None:
    if level == USERNS:
        lacking = await _lacking_nodes(client, spec, architecture)
        if lacking:
            return _Refusal(text=lacking)
    template = render(name, client.namespace, spec, [architecture], levels={architecture: level}).stateful_sets[architecture]["spec"]
    try:
        made = await client.create(PODS, _trial_pod(name, architecture, template), dry_run=True)
    except ApiError as error:
        return _judge(error)
    if not keeps_host_users(made):
        return _Refusal(text="the API server does not know user namespaces: it drops hostUsers")
    return None


def _trial_pod(name: str, architecture: str, stateful_set: JsonObject) -> JsonObject:
    """A pod of the pool, as its StatefulSet would make one. A claim's volume is what the StatefulSet adds: any volume stands for it."""
    template = stateful_set["template"]
    claimed = [{"name": claim["metadata"]["name"], "emptyDir": {}} for claim in stateful_set.get("volumeClaimTemplates") or ()]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "generateName": f"{names.pool_name(name, architecture)}-"},
        "spec": {**template["spec"], "volumes": [*template["spec"]["volumes"], *claimed]},
    }


def _judge(error: ApiError) -> _Refusal | None:
    """What the API server's answer says of the level; None when it is about something else, which the pod itself will tell."""
    # Before the API server's own words stands what was asked of it.
    message = " ".join(error.message.partition(": ")[2].split())
    if isinstance(error, Forbidden) and "violates PodSecurity" in message:
        return _Refusal(text=message.rpartition("is forbidden: ")[2], pod_security=True)
    if "does not support dry run" in message:
        return None
    if any(word in message for word in _POLICIES):
        return _Refusal(text=message)
    if isinstance(error, Invalid) and ("hostUsers" in message or "securityContext" in message):
        return _Refusal(text=message)
    if isinstance(error, Forbidden | Invalid):
        return None
    raise error


async def _lacking_nodes(client: KubeClient, spec: BuilderSpec, architecture: str) -> str:
    """Why the pool's pods cannot be in a user namespace, going by what the nodes say of their runtimes; "" when they can.

    By name it suffices that one node can; of itself nobody gets a level that some nodes refuse. Clusters have thousands of nodes, which
    are much alike: the first page that has some speaks for all.
    """
    if spec.pod.runtime_class:
        return ""
    selector = {**spec.pod.node_selector, "kubernetes.io/os": "linux", "kubernetes.io/arch": architecture}
    labels = ",".join(f"{key}={value}" for key, value in selector.items())
    try:
        async for page in client.pages(NODES, label_selector=labels, field_selector="spec.unschedulable=false", page_size=_PAGE):
            nodes = [node for node in page if usable_architecture(node, spec.pod) == architecture]
            if nodes:
                without = [node for node in nodes if not has_user_namespaces(node)]
                enough = len(without) < len(nodes) if spec.security != AUTO else not without
                return "" if enough else _says(without[0])
    except Forbidden:
        pass
    return ""


def has_user_namespaces(node: JsonObject) -> bool:
    """Whether the node's default runtime offers user namespaces, by its own word (Kubernetes 1.31 and later). Pure."""
    handlers = (node.get("status") or {}).get("runtimeHandlers") or ()
    return any(not handler.get("name") and (handler.get("features") or {}).get("userNamespaces") for handler in handlers)


def _says(node: JsonObject) -> str:
    info = (node.get("status") or {}).get("nodeInfo") or {}
    what = ", ".join(filter(None, (info.get("containerRuntimeVersion"), info.get("kernelVersion"))))
    return f"node {node['metadata']['name']} offers no user namespaces" + (f" ({what})" if what else "")
