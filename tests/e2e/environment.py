"""What `.cluster/env` says: the local cluster, its registries, and the PATH with kubectl and our executables."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster import layout

_ASKED = ("KUBECONFIG", "PATH", "KB_REGISTRY", "KB_REGISTRY_USER", "KB_REGISTRY_PASSWORD", "KB_REGISTRY_CA", "KB_INSECURE_REGISTRY")
_CHANGES_THE_CLIENT = (
    "BUILDX_BUILDER",
    "BUILDKIT_PROGRESS",
    "DOCKER_DEFAULT_PLATFORM",
    "DOCKER_CONFIG",
    "SOURCE_DATE_EPOCH",
    "CI",
    "NO_COLOR",
)


SECURITY = "KB_E2E_SECURITY"
"""The variable with the security level of builders that name none."""

needs_own_processes = pytest.mark.skipif(
    os.environ.get(SECURITY) == "rootless",
    reason="a rootless step has no PID namespace, so what its shell has started outlives a cancelled build (docs/builders.md)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterEnv:
    """The local cluster as its users see it."""

    variables: dict[str, str]
    """For child processes: this process's environment without what would change the client, with the cluster's own variables."""

    @property
    def kubeconfig(self) -> Path:
        return Path(self.variables["KUBECONFIG"])

    @property
    def registry(self) -> str:
        """host:port of the registry with TLS and a password."""
        return self.variables["KB_REGISTRY"]

    @property
    def user(self) -> str:
        return self.variables["KB_REGISTRY_USER"]

    @property
    def password(self) -> str:
        return self.variables["KB_REGISTRY_PASSWORD"]

    @property
    def ca(self) -> Path:
        return Path(self.variables["KB_REGISTRY_CA"])

    @property
    def insecure_registry(self) -> str:
        """host:port of the registry with plain http and no password."""
        return self.variables["KB_INSECURE_REGISTRY"]


def load() -> ClusterEnv | None:
    """Read `.cluster/env` as a shell does; None when no cluster has been made here."""
    if not layout.STATE.env.exists():
        return None
    base = {name: value for name, value in os.environ.items() if name not in _CHANGES_THE_CLIENT}
    shell = subprocess.run(["sh", "-c", '. "$0" && env -0', str(layout.STATE.env)], env=base, check=True, capture_output=True, timeout=10)
    said = dict(item.split("=", 1) for item in shell.stdout.decode().split("\0") if "=" in item)
    missing = [name for name in _ASKED if name not in said]
    assert not missing, f"{layout.STATE.env} does not set {', '.join(missing)}"
    return ClusterEnv(variables={**base, **{name: said[name] for name in _ASKED}})
