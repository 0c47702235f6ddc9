"""Checks of the namespace: that it is there, and which pods it admits."""

from __future__ import annotations

from kubectl_build.cluster.resources import NAMESPACES
from kubectl_build.doctor.finding import Finding, note, ok, problem
from kubectl_build.doctor.patient import Patient
from kubectl_build.errors import Forbidden, NotFound

_ENFORCE = "pod-security.kubernetes.io/enforce"


async def check_namespace(patient: Patient) -> list[Finding]:
    """Whether Pod Security lets a builder's pods in. Every level of security needs "privileged"."""
    name = patient.cluster.namespace
    try:
        namespace = await patient.cluster.get(NAMESPACES, name)
    except NotFound:
        return [problem(f'namespace "{name}" does not exist', "no builder can be made in it", f"kubectl create namespace {name}")]
    except Forbidden:
        words = f'which pods namespace "{name}" admits is not known: you may not get namespaces'
        return [note(words, "a refusal shows only when a builder starts", f"kubectl get namespace {name} --show-labels")]
    if (namespace.get("status") or {}).get("phase") == "Terminating":
        return [problem(f'namespace "{name}" is being deleted', "no builder can be made in it", f"kubectl get namespace {name}")]
    level = (namespace["metadata"].get("labels") or {}).get(_ENFORCE, "")
    if level in ("", "privileged"):
        admitted = f'Pod Security "{level}"' if level else "no label of Pod Security"
        return [ok(f'namespace "{name}" has {admitted}')]
    words = f'namespace "{name}" enforces Pod Security "{level}"'
    command = f"kubectl label namespace {name} {_ENFORCE}=privileged --overwrite"
    builder = await patient.builder_if_known()
    if builder is not None and any(pod.usable for pod in builder.pods):
        return [note(words, "pods that run stay, but none can be started any more", command)]
    return [problem(words, "no builder's pod is admitted, whatever its security", command)]
