"""Writing one index under every name that a build has."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from kubectl_build.model.credentials import Keychain
from kubectl_build.model.digest import sha256_digest
from kubectl_build.model.events import Sink, StatusUpdate, Vertex, VertexStatus
from kubectl_build.model.reference import Reference
from kubectl_build.model.stream import Dialer
from kubectl_build.registry.client import RegistryTrust, open_registry
from kubectl_build.registry.index import IndexDocument


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
    step = Vertex(digest=sha256_digest(document.data), name="[internal] pushing the index", started=time.time())
    emit(StatusUpdate(vertexes=(step,)))
    error = ""
    try:
        for host in dict.fromkeys(name.domain for name in names):
            async with open_registry(host, keychain=keychain, trust=trust(host), dial=dial, emit=emit) as registry:
                for name in names:
                    if name.domain == host:
                        started = time.time()
                        await registry.put_manifest(name.path, name.tag or document.digest, document.data, document.media_type)
                        emit(_pushed(step, f"pushing manifest for {name}@{document.digest}", started))
    except BaseException as failure:
        error = str(failure) or type(failure).__name__
        raise
    finally:
        done = Vertex(digest=step.digest, name=step.name, started=step.started, completed=time.time(), error=error)
        emit(StatusUpdate(vertexes=(done,)))


def _pushed(step: Vertex, what: str, started: float) -> StatusUpdate:
    return StatusUpdate(statuses=(VertexStatus(vertex=step.digest, id=what, name=what, started=started, completed=time.time()),))
