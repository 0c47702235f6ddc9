"""Checks of the builder's pods: whether each pool has one that is ready, and why not; which were restarted, which are outdated."""

from __future__ import annotations

from kubectl_build.builder import names
from kubectl_build.builder.explain import PoolView, explain_pool
from kubectl_build.builder.state import Builder, Pool
from kubectl_build.cluster.resources import EVENTS, STATEFULSETS, Resource
from kubectl_build.doctor.finding import Finding, command_of, note, ok, problem
from kubectl_build.doctor.patient import Patient
from kubectl_build.errors import Forbidden
from kubectl_build.model.json import JsonObject

_RESTARTS_TOLD = 1


async def check_pods(patient: Patient) -> list[Finding]:
    """What the builder is, and what its pods suffer from."""
    kube, name = patient.cluster, patient.name
    builder = await patient.builder()
    if builder is None:
        words = f'there is no builder "{name}" in namespace "{kube.namespace}"'
        return [
            note(words, "the first build makes it, and waits for its pods", patient.typed(f"kubectl buildkit create {name} --bootstrap"))
        ]
    found = []
    if builder.problem:
        found.append(problem(builder.problem, "pools cannot be added to it", f"kubectl buildkit rm {name} -n {kube.namespace}"))
    if not builder.pools:
        words = f'builder "{name}" has no pool yet'
        return [*found, note(words, "the first build starts one", patient.typed(f"kubectl buildkit inspect {name} --bootstrap"))]
    pods = await patient.pods()
    for pool in builder.pools:
        own = [pod for pod in pods if pod["metadata"].get("labels", {}).get(names.LABEL_ARCHITECTURE) == pool.architecture]
        found.append(await _pool_finding(patient, builder, pool, own))
        found += [finding for pod in own if (finding := _restarted(pod, patient)) is not None]
    found.append(_security(builder, patient))
    outdated = [pod.name for pod in builder.pods if pod.outdated and not pod.terminating]
    if outdated:
        words = f"pods of an earlier configuration: {', '.join(outdated)}"
        command = patient.typed(f"kubectl delete pod {' '.join(outdated)}")
        found.append(note(words, "they build with it until they are replaced, best when nobody builds", command))
    return found


def _security(builder: Builder, patient: Patient) -> Finding:
    """How far its pods are from their nodes."""
    if "privileged" not in builder.security.split(","):
        return ok(f"the builder's security is {builder.security or 'not told by its pods'}")
    words = "the builder's pods are privileged"
    return note(words, "a step that breaks out of its container is root on the node", patient.changed("--security=auto"))


async def _pool_finding(patient: Patient, builder: Builder, pool: Pool, pods: list[JsonObject]) -> Finding:
    wanted = "?" if pool.replicas is None else pool.replicas
    if pool.usable_pods:
        names_ = ", ".join(f"{pod.name} on {pod.node}" for pod in pool.usable_pods)
        words = f"pool {pool.architecture}: {len(pool.usable_pods)} of {wanted} pods ready: {names_}"
        few = pool.replicas is not None and len(pool.usable_pods) < pool.replicas
        command = patient.typed(f"kubectl get pods -l {names.selector(builder.name)}")
        return note(words, "builds share fewer pods", command) if few else ok(words)
    if pool.replicas == 0:
        words = f"pool {pool.architecture} is stopped"
        return note(words, "the next build starts it", patient.typed(f"kubectl buildkit inspect {builder.name} --bootstrap"))
    sets = await _items(patient, STATEFULSETS, names.selector(builder.name, pool.architecture))
    events = await _items(patient, EVENTS, "")
    view = PoolView(
        namespace=builder.namespace, architecture=pool.architecture, stateful_set=next(iter(sets), None), pods=pods, events=events
    )
    diagnosis = explain_pool(view)
    return problem(
        f"pool {pool.architecture} has no pod that is ready: {diagnosis.text}",
        f"builds that need {pool.architecture} wait for it" if diagnosis.patience is None else f"builds that need {pool.architecture} fail",
        command_of(diagnosis.hint) or f"kubectl describe pods -n {builder.namespace} -l {names.selector(builder.name, pool.architecture)}",
    )


async def _items(patient: Patient, resource: Resource, selector: str) -> list[JsonObject]:
    """What is there and may be read."""
    try:
        return (await patient.cluster.list(resource, label_selector=selector)).items
    except Forbidden:
        return []


def _restarted(pod: JsonObject, patient: Patient) -> Finding | None:
    """A daemon that ended and was started again, with the reason of the last time."""
    states = (pod.get("status") or {}).get("containerStatuses") or ()
    state: JsonObject = next((item for item in states if item.get("name") == names.CONTAINER), {})
    count = int(state.get("restartCount") or 0)
    if count < _RESTARTS_TOLD:
        return None
    ended = (state.get("lastState") or {}).get("terminated") or {}
    name = pod["metadata"]["name"]
    why = f": {ended.get('reason') or 'no reason is given'}, exit code {ended.get('exitCode')}" if ended else ""
    words = f"the daemon of pod {name} was started again {count} {'time' if count == 1 else 'times'}{why}"
    if ended.get("reason") == "OOMKilled":
        return note(
            words, "builds that ran there were lost; it needs more memory than its limit", patient.typed(f"kubectl describe pod {name}")
        )
    return note(words, "builds that ran there were lost", patient.typed(f"kubectl logs {name} -c {names.CONTAINER} --previous"))
