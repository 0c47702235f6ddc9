"""`stop`: a builder without pods, which the next build starts again."""

from __future__ import annotations

from kubectl_build.builder import names
from kubectl_build.builder.gone import wait_gone
from kubectl_build.builder.remove import end_pods
from kubectl_build.builder.state import Builder
from kubectl_build.builder.together import together
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import PODS, STATEFULSETS
from kubectl_build.errors import Forbidden
from kubectl_build.model.events import Note, Sink


async def stop_builder(client: KubeClient, builder: Builder, *, force: bool = False, emit: Sink, deadline: float) -> tuple[str, ...]:
    """Scale `builder`, of the client's namespace, to zero and wait until its pods are gone; return the pools that ran.

    A daemon may finish what it builds within its grace period; with `force` it may not. `deadline` is in seconds from now. Raises
    Forbidden when its pools may not be seen, ClusterError when its pods stay, ApiError.
    """
    if any(pool.replicas is None for pool in builder.pools):
        raise Forbidden(
            f'builder "{builder.name}" in namespace "{client.namespace}" cannot be stopped by you: you may not list statefulsets.apps',
            status=403,
            hint=f"ask for the right; `kubectl auth can-i list statefulsets.apps -n {client.namespace}` tells whether you have it",
            verb="list",
            resource=STATEFULSETS.qualified,
            namespace=client.namespace,
        )
    running = [pool for pool in builder.pools if pool.replicas]
    if force:
        await end_pods(client, list((await client.list(PODS, label_selector=names.selector(builder.name))).items))
    await together(*(client.patch(STATEFULSETS, pool.name, {"spec": {"replicas": 0}}) for pool in running))
    await wait_gone(client, builder.name, done="stopped", emit=emit, deadline=deadline)
    return tuple(pool.architecture for pool in running)


def tell_cache(builder: Builder, emit: Sink) -> None:
    """Say what stopping `builder` does to its cache, before it is done."""
    if builder.spec is None:
        emit(Note(text=f'whether the cache of builder "{builder.name}" outlives its pods is not known', level="warning"))
    elif not builder.spec.cache.outlives_pods:
        emit(Note(text=f'the cache of builder "{builder.name}" is lost: it is in its pods, not in persistent volumes', level="warning"))
