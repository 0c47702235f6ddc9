"""The work behind `kubectl buildkit doctor`: the findings as lines, or as JSON."""

from __future__ import annotations

import json
import os
import sys

from kubectl_build.builder.names import check_builder_name
from kubectl_build.cli.connect import connected_to
from kubectl_build.cli.environment import DEFAULT_BUILDER
from kubectl_build.cli.main import run_async
from kubectl_build.cli.preference import preferred_builder
from kubectl_build.doctor.examine import Examined, examine, prevents_building
from kubectl_build.doctor.finding import Level
from kubectl_build.doctor.patient import Patient
from kubectl_build.model.json import JsonObject
from kubectl_build.model.kubeflags import KubeFlags
from kubectl_build.model.reference import parse_reference
from kubectl_build.progress.escape import clean_line
from kubectl_build.transport.addresses import parse_address

_INDENT = " " * 9
_EXIT_PROBLEM = 1


def examine_builder(name: str, cluster: KubeFlags, *, image: str, secrets: tuple[str, ...], as_json: bool) -> int:
    """Examine builder `name`, "" for the preferred one, and print what was found. Returns 1 when something prevents building."""
    reference = parse_reference(image) if image else None
    if name and parse_address(name) is None:
        check_builder_name(name)

    async def work() -> int:
        async with connected_to(name, cluster, needed=bool(secrets)) as kube:
            # Whether a preferred builder is there is for the examination to tell.
            preferred = preferred_builder(kube.context_name, kube.namespace, os.environ) if kube is not None and not name else ""
            chosen = name or preferred or DEFAULT_BUILDER
            async with Patient(kube, chosen, image=reference, secrets=secrets, environ=os.environ) as patient:
                examined = await examine(patient)
        print(json.dumps(_document(chosen, examined), indent=2) if as_json else _text(examined))
        if not as_json:
            print(_summary(examined), file=sys.stderr)
        return _EXIT_PROBLEM if prevents_building(examined) else 0

    return run_async(work)


def _text(examined: tuple[Examined, ...]) -> str:
    """A line for each finding, below it what follows, and the command after a dollar sign."""
    lines = []
    for item in examined:
        for finding in item.findings:
            lines.append(f"{finding.level.value:<{len(_INDENT)}}{clean_line(finding.what)}")
            lines += [_INDENT + clean_line(finding.consequence)] if finding.consequence else []
            lines += [f"{_INDENT}$ {clean_line(finding.command)}"] if finding.command else []
    return "\n".join(lines)


def _summary(examined: tuple[Examined, ...]) -> str:
    levels = [finding.level for item in examined for finding in item.findings]
    problems, notes = levels.count(Level.PROBLEM), levels.count(Level.NOTE)
    if not problems:
        return f"nothing prevents building; {notes} {'note' if notes == 1 else 'notes'}"
    return f"{problems} {'problem prevents' if problems == 1 else 'problems prevent'} building"


def _document(name: str, examined: tuple[Examined, ...]) -> JsonObject:
    return {
        "builder": name,
        "preventsBuilding": prevents_building(examined),
        "findings": [
            {
                "check": item.check,
                "level": finding.level.value,
                "finding": finding.what,
                "consequence": finding.consequence,
                "command": finding.command,
            }
            for item in examined
            for finding in item.findings
        ],
    }
