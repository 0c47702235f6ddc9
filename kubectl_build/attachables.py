"""What a build offers to every daemon that it uses: its directories, logins, secrets, agents and places for results."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from kubectl_build.model.credentials import Keychain
from kubectl_build.model.inputs import local_directories
from kubectl_build.model.request import BuildRequest, Output, OutputType
from kubectl_build.session.auth import Auth
from kubectl_build.session.filesend import DirTarget, ExportTarget, FileTarget
from kubectl_build.session.filesync import FileSync, LocalDir
from kubectl_build.session.rpc import Attachable
from kubectl_build.session.session import Session

_STDOUT = 1
"""The file descriptor of an output to "-"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The services of one build, from which each of its solves gets a session of its own. Made by `open_services`."""

    shared_key: str
    attachables: Sequence[Attachable]

    def session(self, *others: Attachable) -> Session:
        """A new session with all that the build offers, and `others` for this solve alone."""
        return Session(shared_key=self.shared_key, attachables=[*self.attachables, *others])


@asynccontextmanager
async def open_services(request: BuildRequest, *, keychain: Keychain, shared_key: str) -> AsyncIterator[Services]:
    """Get ready what daemons may ask for. Raises UsageError for what cannot be read."""
    named = local_directories(request.context, request.dockerfile, request.named_contexts)
    directories = {name: LocalDir(path) for name, path in named.items()}
    yield Services(shared_key=shared_key, attachables=[FileSync(directories), Auth(keychain)])


def export_targets(outputs: Sequence[Output]) -> dict[int, ExportTarget]:
    """Where the results of one solve go, by the exporter's number."""
    return {number: target for number, output in enumerate(outputs) if (target := _target(output)) is not None}


def _target(output: Output) -> ExportTarget | None:
    if output.dest is None:
        return None
    if output.type is OutputType.LOCAL:
        return DirTarget(output.dest)
    return FileTarget(_STDOUT if output.dest == "-" else output.dest)
