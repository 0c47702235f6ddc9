"""What a user of the cluster sources: `.cluster/env`, the kubeconfig, and a directory of programs."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.cluster import files, layout, pki
from tests.cluster.registries import Registry


def variables(state: layout.State, registry: Registry) -> dict[str, str]:
    """Return the variables of `.cluster/env` but for PATH."""
    return {
        "KUBECONFIG": str(state.kubeconfig),
        "KB_REGISTRY": registry.address,
        "KB_REGISTRY_USER": registry.user,
        "KB_REGISTRY_PASSWORD": registry.password,
        "KB_REGISTRY_CA": str(registry.ca),
        "KB_INSECURE_REGISTRY": layout.INSECURE_REGISTRY,
    }


def script(state: layout.State, registry: Registry, venv: Path) -> str:
    """Return the shell script; sourcing it twice lengthens PATH but changes nothing else."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables(state, registry).items()]
    first = shlex.quote(f"{state.programs}:{venv}")
    return "\n".join([*lines, f'export PATH={first}:"$PATH"']) + "\n"


def write(state: layout.State, tools: Mapping[str, Path], programs: Iterable[str], keys: Path, registry: Registry) -> None:
    """Write all three. The kubeconfig has its keys inline, so that it may be copied elsewhere."""
    state.programs.mkdir(parents=True, exist_ok=True)
    for name in programs:
        link = state.programs / name
        if not (link.is_symlink() and link.readlink() == tools[name]):
            link.unlink(missing_ok=True)
            link.symlink_to(tools[name])
    files.write_json(state.kubeconfig, pki.inline_kubeconfig(keys, "admin"), 0o600)
    files.write(state.env, script(state, registry, layout.CHECKOUT / ".venv" / "bin"), 0o600)
