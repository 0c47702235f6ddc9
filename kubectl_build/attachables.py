"""What a build offers to every daemon that it uses: its directories, logins, secrets, agents and places for results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from kubectl_build.layout.store import LayoutStore
from kubectl_build.model.credentials import Keychain
from kubectl_build.model.inputs import ArchiveContext, LayoutContext, local_directories
from kubectl_build.model.request import BuildRequest, CompressContext, Output, OutputType
from kubectl_build.model.tokens import TokenFetcher
from kubectl_build.session.auth import Auth
from kubectl_build.session.content import ContentStores
from kubectl_build.session.filesend import DirTarget, ExportTarget, FileTarget
from kubectl_build.session.filesync import FileSync, LocalDir, Tell
from kubectl_build.session.rpc import Attachable
from kubectl_build.session.secrets import Secrets, check_secrets
from kubectl_build.session.session import Session
from kubectl_build.session.ssh_agents import open_agents
from kubectl_build.session.upload import Upload
from kubectl_build.values import dataclass

_STDOUT = 1
"""The file descriptor of an output to "-"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The services of one build, from which each of its solves gets a session of its own. Made by `open_services`.

    `named_keys` are the shared keys of named contexts that are directories: the frontend is told them, the session has only one. That one
    may still be on its way: in a large tree it takes as long as the way to the daemon.
    """

    shared_key: asyncio.Future[str]
    named_keys: Mapping[str, str]
    attachables: Sequence[Attachable]
    directories: Mapping[str, LocalDir]
    stores: Mapping[str, LayoutStore]
    compress: CompressContext

    async def session(self, *others: Attachable, stores: Mapping[str, LayoutStore] | None = None, tell: Tell | None = None) -> Session:
        """A new session with all that the build offers, and `others` and content `stores` for this solve alone. `tell` as FileSync's."""
        found = {**self.stores, **(stores or {})}
        content = [ContentStores(found)] if found else []
        files = [FileSync(self.directories, tell=tell)] if self.directories else []
        attachables = [*self.attachables, *files, *content, *others]
        return Session(shared_key=await asyncio.shield(self.shared_key), attachables=attachables, compress=self.compress)


@asynccontextmanager
async def open_services(
    request: BuildRequest,
    *,
    keychain: Keychain,
    shared_key: asyncio.Future[str],
    named_keys: Mapping[str, str] | None = None,
    tokens: TokenFetcher | None = None,
) -> AsyncIterator[Services]:
    """Get ready what daemons may ask for, and start ssh agents for key files. Raises UsageError for what cannot be read.

    With `tokens` registries' tokens are fetched here and logins stay here.
    """
    named = local_directories(request.context, request.dockerfile, request.named_contexts)
    directories = {name: LocalDir(path) for name, path in named.items()}
    attachables: list[Attachable] = [Auth(keychain, tokens)]
    check_secrets(request.secrets)
    if request.secrets:
        attachables.append(Secrets(request.secrets))
    if isinstance(request.context, ArchiveContext):
        attachables.append(Upload({request.context.id: request.context.file}))
    layouts = {f"oci:{c.id}": LayoutStore(c.path, read_only=True) for c in request.named_contexts.values() if isinstance(c, LayoutContext)}
    async with AsyncExitStack() as stack:
        if request.ssh:
            attachables.append(await stack.enter_async_context(open_agents(request.ssh)))
        yield Services(
            shared_key=shared_key,
            named_keys=named_keys or {},
            attachables=attachables,
            directories=directories,
            stores=layouts,
            compress=request.compress_context,
        )


def export_targets(outputs: Sequence[Output]) -> dict[int, ExportTarget]:
    """Where the results of one solve go, by the exporter's number; a directory with an OCI layout is a store, not a target."""
    return {number: target for number, output in enumerate(outputs) if (target := _target(output)) is not None}


def _target(output: Output) -> ExportTarget | None:
    if output.dest is None or output.is_layout:
        return None
    if output.type is OutputType.LOCAL:
        return DirTarget(output.dest, mirror=output.mirrors)
    return FileTarget(_STDOUT if output.dest == "-" else output.dest)
