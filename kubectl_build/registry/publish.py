"""Writing one index under every name that a build has."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from kubectl_build.model.credentials import Keychain
from kubectl_build.model.events import Sink, StatusUpdate, VertexStatus
from kubectl_build.model.reference import Reference
from kubectl_build.model.stream import Dialer
from kubectl_build.registry.client import RegistryTrust, open_registry
from kubectl_build.registry.index import IndexDocument
from kubectl_build.registry.steps import shown_step


async def publish_index(
    document: IndexDocument,
    names: Sequence[Reference],
    *,
    keychain: Keychain,
    trust: Callable[[str], RegistryTrust],
    dial: Callable[[str, int], Dialer] | None,
    emit: Sink,
) -> None:
    """Put `document` to every name, a registry after the other. `dial` reaches them from where the daemons push; None is directly.

    Shown to the user as one step. Raises RegistryError; names that were written before it keep the new index.
    """
    with shown_step("[internal] pushing the index", document.data, emit) as step:
        for host in dict.fromkeys(name.domain for name in names):
            async with open_registry(host, keychain=keychain, trust=trust(host), dial=dial, emit=emit) as registry:
                for name in names:
                    if name.domain == host:
                        started = time.time()
                        await registry.put_manifest(name.path, name.tag or document.digest, document.data, document.media_type)
                        emit(_pushed(step, f"pushing manifest for {name}@{document.digest}", started))


def _pushed(step: str, what: str, started: float) -> StatusUpdate:
    return StatusUpdate(statuses=(VertexStatus(vertex=step, id=what, name=what, started=started, completed=time.time()),))
