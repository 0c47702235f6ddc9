"""All checks at once, each with a deadline. One that fails says so, and the others go on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from kubectl_build.deadlines import deadlines
from kubectl_build.doctor.access import check_api, check_context, check_proxies
from kubectl_build.doctor.daemons import check_clocks, check_daemons, check_disks, check_emulators
from kubectl_build.doctor.finding import Finding, Level, command_of, note
from kubectl_build.doctor.namespace import check_namespace
from kubectl_build.doctor.nodes import check_nodes
from kubectl_build.doctor.patient import Patient
from kubectl_build.doctor.pods import check_pods
from kubectl_build.doctor.registries import check_registries
from kubectl_build.doctor.rights import check_rights
from kubectl_build.errors import KubectlBuildError
from kubectl_build.transport.addresses import KubePodAddress
from kubectl_build.values import dataclass

Check = Callable[[Patient], Awaitable[list[Finding]]]

_CLUSTER: dict[str, Check] = {
    "context": check_context,
    "api server": check_api,
    "rights": check_rights,
    "namespace": check_namespace,
    "nodes": check_nodes,
    "pods": check_pods,
}
_DAEMONS: dict[str, Check] = {
    "daemons": check_daemons,
    "emulators": check_emulators,
    "clocks": check_clocks,
    "disks": check_disks,
    "registries": check_registries,
    "proxies": check_proxies,
}
_OF_POD_ADDRESS = ("context", "api server", "rights")


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What one check found; `check` is its name."""

    check: str
    findings: tuple[Finding, ...]


async def examine(patient: Patient) -> tuple[Examined, ...]:
    """Make every check that fits the patient. Where the API server does not answer, only that and the environment are told."""
    deadline = deadlines().examine
    if patient.address is None:
        checks = _CLUSTER | _DAEMONS
    elif isinstance(patient.address, KubePodAddress):
        checks = {name: check for name, check in _CLUSTER.items() if name in _OF_POD_ADDRESS} | _DAEMONS
    else:
        checks = _DAEMONS
    async with asyncio.TaskGroup() as group:
        tasks = {name: group.create_task(_made(name, check, patient, deadline), name=f"check {name}") for name, check in checks.items()}
    found = {name: task.result() for name, task in tasks.items()}
    api = found.get("api server", ())
    if not isinstance(api, KubectlBuildError) and any(finding.level is Level.PROBLEM for finding in api):
        found = {name: findings for name, findings in found.items() if name in ("api server", "proxies")}
    return tuple(Examined(check=name, findings=findings) for name, findings in _told(found).items() if findings)


async def _made(name: str, check: Check, patient: Patient, deadline: float) -> tuple[Finding, ...] | KubectlBuildError:
    try:
        async with asyncio.timeout(deadline):
            return tuple(await check(patient))
    except TimeoutError:
        return (note(f"the check of {name} did not end within {deadline:g} s", "what it would have found is not known"),)
    except KubectlBuildError as error:
        return error


def _told(found: Mapping[str, tuple[Finding, ...] | KubectlBuildError]) -> dict[str, tuple[Finding, ...]]:
    """Errors become findings: one that several checks met is told once, with the first of them."""
    failed = {name: outcome for name, outcome in found.items() if isinstance(outcome, KubectlBuildError)}
    told: dict[str, tuple[Finding, ...]] = {}
    for name, outcome in found.items():
        if not isinstance(outcome, KubectlBuildError):
            told[name] = outcome
            continue
        alike = [other for other, error in failed.items() if error.message == outcome.message]
        if name == alike[0]:
            words = f"not examined: {', '.join(alike)}: {outcome.message}"
            told[name] = (note(words, "what would have been found is not known", command_of(outcome.hint)),)
    return told


def prevents_building(examined: tuple[Examined, ...]) -> bool:
    """Whether there is a problem among the findings."""
    return any(finding.level is Level.PROBLEM for item in examined for finding in item.findings)
