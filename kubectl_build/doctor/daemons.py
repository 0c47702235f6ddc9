"""Checks of the daemons: that they answer, their versions, emulators, clocks and disks."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kubectl_build.builder.amounts import parse_quantity
from kubectl_build.builder.names import CONTAINER
from kubectl_build.builder.spec import DEFAULT_IMAGE
from kubectl_build.builder.volume import VOLUME
from kubectl_build.doctor.clocks import LARGEST_SKEW
from kubectl_build.doctor.finding import Finding, command_of, note, ok, problem
from kubectl_build.doctor.patient import Patient
from kubectl_build.doctor.vitals import Beside, Vitals
from kubectl_build.model.json import JsonObject
from kubectl_build.model.platform import runs_on
from kubectl_build.progress.units import human_size
from kubectl_build.survey import Reply

_FULL = 64 * 1024 * 1024
"""Bytes free below which a step that writes anything fails."""
_NEARLY_FULL = 0.1
"""The kubelet evicts pods when a tenth of the disk is left (nodefs.available<10%)."""
_NEAR_LIMIT = 0.9


async def check_daemons(patient: Patient) -> list[Finding]:
    """Whether each daemon answers, and with which version."""
    replies = await patient.vitals()
    if not replies:
        return [note("no daemon runs, so none could be examined", "", "")]
    found = [_silent(reply, patient) for reply in replies if reply.error is not None]
    vitals = _answered(replies)
    found += [
        note(f"no command can be run in pod {v.link.name}: {v.refusal}", "its clock, disk and emulators are not known")
        for v in vitals
        if v.refusal
    ]
    versions = {vital.link.name: vital.info.version for vital in vitals}
    if len(set(versions.values())) > 1:
        words = "daemons have different versions: " + ", ".join(f"{name} {version}" for name, version in versions.items())
        found.append(note(words, "the same Dockerfile may give different digests", patient.changed("--image=IMAGE")))
    own = DEFAULT_IMAGE.rpartition(":")[2]
    for version in sorted(set(versions.values())):
        found.append(_version(version, own))
    return found


def _silent(reply: Reply[Vitals], patient: Patient) -> Finding:
    assert reply.error is not None, "only those without an answer come here"
    command = command_of(reply.error.hint) or _log_command(reply, patient)
    return problem(f"the daemon of {reply.member.name} cannot be used: {reply.error.message}", "builds that are sent there fail", command)


def _log_command(reply: Reply[Vitals], patient: Patient) -> str:
    return patient.typed(f"kubectl logs {reply.member.name} -c {CONTAINER}") if patient.kube is not None else ""


def _version(version: str, own: str) -> Finding:
    theirs, ours = _numbers(version), _numbers(own)
    if theirs is None or ours is None or theirs == ours:
        return ok(f"buildkitd {version}")
    age = "older" if theirs < ours else "newer"
    words = f"buildkitd {version} is {age} than {own}, with which this client was tested"
    return note(words, "what only one of them knows does not work" if age == "older" else "", "")


def _numbers(version: str) -> tuple[int, int] | None:
    match = re.match(r"v(\d+)\.(\d+)", version)
    return (int(match.group(1)), int(match.group(2))) if match else None


async def check_emulators(patient: Patient) -> list[Finding]:
    """What each daemon can run natively and emulated: emulators of the kernel are in the worker's list, those of the image beside it."""
    found = []
    for vital in _answered(await patient.vitals()):
        own = vital.link.own
        foreign = {str(p) for worker in vital.info.workers for p in worker.platforms if not runs_on(p, own.architecture)}
        brought = set(vital.beside.emulators) - {own.architecture, "386" if own.architecture == "amd64" else ""} if vital.beside else set()
        names = ", ".join(sorted({name.split("/")[1] for name in foreign} | brought))
        if names:
            found.append(ok(f"{vital.link.name} ({own}) has emulators for {names}"))
        else:
            words = f"{vital.link.name} ({own}) has no emulators"
            found.append(note(words, "platforms that need a node which is not there are refused", patient.changed("--qemu-install")))
    return found


async def check_clocks(patient: Patient) -> list[Finding]:
    """Whether the pods' clocks agree with ours."""
    known = [(v, v.beside.skew) for v in _answered(await patient.vitals()) if v.beside is not None and v.beside.skew is not None]
    found = []
    for vital, skew in known:
        if abs(skew) > LARGEST_SKEW:
            words = f"the clock of {_where(vital)} is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
            consequence = "certificates and tokens may be refused there, and times of images are wrong"
            found.append(note(words, consequence, f"kubectl describe node {vital.link.node}" if vital.link.node else ""))
    return found or ([ok("the pods' clocks agree with this machine's")] if known else [])


async def check_disks(patient: Patient) -> list[Finding]:
    """What the caches take of the disks they lie on, and of the limits of their volumes."""
    limits = {pod["metadata"]["name"]: limit for pod in await _raw_pods(patient) if (limit := _volume_limit(pod))}
    found = []
    for vital in _answered(await patient.vitals()):
        found.append(_disk(vital, vital.beside, patient))
        limit = limits.get(vital.link.name, 0)
        if limit and vital.usage.total > limit * _NEAR_LIMIT:
            words = (
                f"the cache of {vital.link.name} has {human_size(vital.usage.total)} of the {human_size(limit)} that its volume may have"
            )
            found.append(
                note(
                    words, "the kubelet evicts the pod when it has more", patient.typed(f"kubectl buildkit prune --builder {patient.name}")
                )
            )
    return found


def _disk(vital: Vitals, beside: Beside | None, patient: Patient) -> Finding:
    words = f"the cache of {vital.link.name} has {human_size(vital.usage.total)}, {human_size(vital.usage.reclaimable)} of it reclaimable"
    if beside is None or beside.disk is None:
        return ok(words)
    total, free = beside.disk
    words += f"; {human_size(free)} of {human_size(total)} free on {_where(vital)}"
    command = patient.typed(f"kubectl buildkit prune --all --builder {patient.name}")
    if free < _FULL:
        return problem(words, "steps that write fail: no space left on device", command)
    if free < total * _NEARLY_FULL:
        return note(words, "the kubelet evicts pods when the disk of a node is nearly full", command)
    return ok(words)


async def _raw_pods(patient: Patient) -> list[JsonObject]:
    return await patient.pods() if patient.address is None else []


def _volume_limit(pod: JsonObject) -> int:
    volumes = (pod.get("spec") or {}).get("volumes") or ()
    limit = next(((volume.get("emptyDir") or {}).get("sizeLimit") for volume in volumes if volume.get("name") == VOLUME), None)
    return int(parse_quantity(str(limit), what="size of a volume")) if limit else 0


def _answered(replies: Sequence[Reply[Vitals]]) -> list[Vitals]:
    return [reply.answer for reply in replies if reply.answer is not None]


def _where(vital: Vitals) -> str:
    return f"node {vital.link.node}" if vital.link.node else vital.link.name
