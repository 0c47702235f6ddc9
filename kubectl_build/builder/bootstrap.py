"""Making a builder that is missing, and waiting for its pods.

Nothing that exists is changed here: create, and an answer of 409 means that somebody else did. What this call made and what never became
ready is removed again when it fails or is cancelled. That may take a StatefulSet from under another client that waits for the same
one; it then makes it anew, since each wait goes by what is there, so only time is lost. A pool that became ready is kept, with its
ConfigMap: it is what the next build needs.

A pool whose pods cannot start because of their security level is made again with the next one, where the level was left to us; only if it
is fresh: nobody's builder becomes less safe because it fails one day.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from kubectl_build.builder import names
from kubectl_build.builder.find import find_builder
from kubectl_build.builder.spec import BuilderSpec
from kubectl_build.builder.state import Builder, PodInfo
from kubectl_build.cluster.client import KubeClient
from kubectl_build.model.events import Note, Sink

SpecSource = Callable[[], Awaitable[BuilderSpec]]
"""Says what a builder made now is to be: `load_defaults`. Asked only when there is none."""

QEMU_NOTE = "--qemu-install registers emulators in the kernel of the builder's nodes, for everything that runs on them, until they restart"


async def ensure_pools(
    client: KubeClient,
    name: str,
    architectures: Sequence[str],
    *,
    spec_source: SpecSource,
    emit: Sink,
    deadline: float,
    found: Builder | None = None,
    fresh: Mapping[str, str] | None = None,
) -> dict[str, tuple[PodInfo, ...]]:
    """Make sure that builder `name` has a ready pod in a pool of each of `architectures`; return the ready pods by architecture.

    Creates the builder and the pools that are missing and starts those that are stopped. `found` saves looking for the builder again.
    `deadline` is in seconds from now. `fresh` has the uids of StatefulSets that the caller has just made, by architecture: like those made
    here, they may be made again with a lower security level. Raises BuilderNotReady, UsageError for a pool that the builder's fixed
    platforms do not have, ConfigError for a builder whose configuration cannot be understood, ApiError, ApiUnreachable. See the module
    about what is undone.
    """
    names.check_builder_name(name)
    until = asyncio.get_running_loop().time() + deadline
    builder = found or await find_builder(client, name, emit=emit)
    _tell_outdated(builder, emit)
    present = {arch: pool.usable_pods for arch in architectures if builder and (pool := builder.pool(arch)) and pool.usable_pods}
    if len(present) == len(set(architectures)):
        return present
    from kubectl_build.builder.making import Making  # seldom needed, and slow to load

    making = Making(client, name, tuple(architectures), spec_source, emit, fresh=dict(fresh or {}))
    return await making.run(builder, until)


def _tell_outdated(builder: Builder | None, emit: Sink) -> None:
    outdated = [pod.name for pod in builder.pods if pod.outdated and not pod.terminating] if builder else []
    if builder and outdated:
        emit(
            Note(
                text=f"{', '.join(outdated)} of builder {builder.name} runs an earlier configuration; "
                "kubectl buildkit create replaces it when it is idle"
            )
        )
