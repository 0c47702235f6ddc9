"""The BuildKit daemon's API over grpcio: a client, one solve, attributes, status and typed errors.

As a library (docs/library.md) it is what `__all__` names; the modules behind it are imported when a name is first used, since grpcio takes
longer to import than many a command runs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubectl_build.buildkit.client import BuildkitClient, BuildRecord, DaemonInfo, Worker
    from kubectl_build.buildkit.daemon import Daemon, open_daemon
    from kubectl_build.buildkit.solve import Exporter, SolveJob, SolveResult
    from kubectl_build.model.events import BuildEvent, StatusUpdate
    from kubectl_build.model.inputs import Secret, SshAgent
    from kubectl_build.model.request import BuildRequest, CacheEntry, Output, OutputType

__all__ = [
    "BuildEvent",
    "BuildRecord",
    "BuildRequest",
    "BuildkitClient",
    "CacheEntry",
    "Daemon",
    "DaemonInfo",
    "Exporter",
    "Output",
    "OutputType",
    "Secret",
    "SolveJob",
    "SolveResult",
    "SshAgent",
    "StatusUpdate",
    "Worker",
    "open_daemon",
]

_HOMES = {
    "kubectl_build.buildkit.client": ("BuildRecord", "BuildkitClient", "DaemonInfo", "Worker"),
    "kubectl_build.buildkit.daemon": ("Daemon", "open_daemon"),
    "kubectl_build.buildkit.solve": ("Exporter", "SolveJob", "SolveResult"),
    "kubectl_build.model.events": ("BuildEvent", "StatusUpdate"),
    "kubectl_build.model.inputs": ("Secret", "SshAgent"),
    "kubectl_build.model.request": ("BuildRequest", "CacheEntry", "Output", "OutputType"),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
