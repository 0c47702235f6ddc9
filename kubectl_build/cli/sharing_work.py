"""The work behind `use`, `stop`, `rm` and `gc`."""

from __future__ import annotations

import os
import sys

from kubectl_build.builder.busy import wait_until_idle
from kubectl_build.builder.find import list_builders, require_builder
from kubectl_build.builder.idle import stop_idle
from kubectl_build.builder.leases import Sightings, delete_dead, list_leases
from kubectl_build.builder.names import check_builder_name
from kubectl_build.builder.remove import remove_builders
from kubectl_build.builder.stop import stop_builder, tell_cache
from kubectl_build.builder.together import together
from kubectl_build.cli.connect import connected
from kubectl_build.cli.environment import DEFAULT_BUILDER
from kubectl_build.cli.main import run_async
from kubectl_build.cli.notes import note
from kubectl_build.cli.preference import current_builder, remember_builder
from kubectl_build.cluster.client import KubeClient
from kubectl_build.daemons import active_builds, pod_use
from kubectl_build.deadlines import deadlines, parse_duration
from kubectl_build.errors import Forbidden
from kubectl_build.model.kubeflags import KubeFlags


def seconds(timeout: str | None) -> float:
    """The value of --timeout; builds are not waited for with 0. Raises UsageError."""
    if timeout is None:
        return deadlines().ready
    return 0.0 if timeout in ("0", "0s") else parse_duration(timeout, "--timeout")


def use(name: str, cluster: KubeFlags, *, everywhere: bool) -> int:
    """Remember a builder, and say where that was written."""
    check_builder_name(name)

    async def work() -> int:
        async with connected(cluster) as kube:
            # The default needs not be there: choosing it is how a choice is taken back.
            if name != DEFAULT_BUILDER:
                await require_builder(kube, name, emit=note)
            file = remember_builder(name, kube.context_name, "" if everywhere else kube.namespace, os.environ)
        where = "every namespace without a choice of its own" if everywhere else f'namespace "{kube.namespace}"'
        print(f'builder "{name}" is used in {where} of context "{kube.context_name}" ({file})')
        return 0

    return run_async(work)


def stop(said: str | None, cluster: KubeFlags, *, force: bool, seconds: float) -> int:
    """Stop a builder, once it builds nothing."""

    async def work() -> int:
        async with connected(cluster) as kube:
            name = await current_builder(said, kube, emit=note, environ=os.environ)
            builder = await require_builder(kube, name, emit=note)
            if builder.status in ("stopped", "empty"):
                print(f'builder "{name}" does not run')
                return 0
            tell_cache(builder, note)
            await _wait(kube, name, "stopped", force=force, seconds=seconds)
            # As it is now: somebody may have added a pool meanwhile.
            builder = await require_builder(kube, name, emit=_ignore)
            await stop_builder(kube, builder, force=force, emit=note, deadline=seconds or deadlines().ready)
        print(f'builder "{name}" stopped: the next build starts it')
        return 0

    return run_async(work)


def remove(names: tuple[str, ...], cluster: KubeFlags, *, ignore_not_found: bool, force: bool, seconds: float) -> int:
    """Remove builders that build nothing, and say which; none of them when one still builds."""
    for name in names:
        check_builder_name(name)

    async def work() -> int:
        async with connected(cluster) as kube:
            await together(*(_wait(kube, name, "removed", force=force, seconds=seconds) for name in dict.fromkeys(names)))
            removed = await remove_builders(
                kube, names, ignore_not_found=ignore_not_found, force=force, emit=note, deadline=seconds or deadlines().ready
            )
            for name in removed:
                print(f'builder "{name}" removed')
        return 0

    return run_async(work)


def collect(cluster: KubeFlags, *, all_namespaces: bool) -> int:
    """Carry out the idle timeouts, and delete dead Leases."""

    async def work() -> int:
        async with connected(cluster) as kube:
            builders = await list_builders(kube, all_namespaces=all_namespaces, emit=note)
            for stopped in await stop_idle(kube, builders, ask=lambda pod: pod_use(kube, pod)):
                print(stopped)
            try:
                leases = await list_leases(kube, all_namespaces=all_namespaces)
                living = await delete_dead(kube, leases, Sightings())
            except Forbidden as error:
                print(f"Leases of clients that are gone are left: {error.message}", file=sys.stderr)
                return 0
        for lease in leases:
            if lease not in living:
                print(f'Lease "{lease.name}" in namespace "{lease.namespace}" deleted: {lease.holder} is gone')
        return 0

    return run_async(work)


def _ignore(_event: object) -> None:
    """The notes of a second look were given at the first."""


async def _wait(kube: KubeClient, name: str, doing: str, *, force: bool, seconds: float) -> None:
    await wait_until_idle(
        kube, name, active_builds=lambda pod: active_builds(kube, pod), doing=doing, emit=note, deadline=seconds, force=force
    )
