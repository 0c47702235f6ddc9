"""The work behind `kubectl buildkit ps`: Leases are listed and every ready pod's daemon is asked, once or again and again."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence

from kubectl_build.builder.find import list_builders, require_builder
from kubectl_build.builder.leases import Lease, Sightings, list_leases
from kubectl_build.builder.state import Builder
from kubectl_build.buildkit.histories import HistoryRecord, list_records
from kubectl_build.cli.connect import connected
from kubectl_build.cli.main import run_async
from kubectl_build.cli.notes import note
from kubectl_build.cli.printing import document_text
from kubectl_build.cli.running import PodBuilds, RunningBuild, running_builds, running_document, running_table
from kubectl_build.cluster.client import KubeClient
from kubectl_build.daemons import Link
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import Forbidden, UsageError
from kubectl_build.model.events import Note, Sink, told_once
from kubectl_build.model.kubeflags import KubeFlags
from kubectl_build.survey import ask_each, members_of
from kubectl_build.transport.addresses import parse_address

_INTERVAL = 2.0
"""Seconds between two looks of --watch."""
_CLEAR = "\x1b[H\x1b[2J"


def show_builds(builder: str, cluster: KubeFlags, *, all_namespaces: bool, watch: bool, output: str) -> int:
    """Print the builds that run as `output` says; with `watch` again whenever they have changed."""
    if parse_address(builder) is not None:
        raise UsageError(f'"{builder}" is an address: ps is for builders in the cluster', hint="see: kubectl buildkit history ls --builder")
    if builder and all_namespaces:
        raise UsageError("--builder is of one namespace, and --all-namespaces are all", hint="use one of them")
    if watch and output not in ("", "wide"):
        raise UsageError(f"--watch is for people, and -o {output} for programs", hint="use one of them")
    look = _Look(builder, all_namespaces)

    async def work() -> int:
        async with connected(cluster) as kube:
            shown: Sequence[RunningBuild] | None = None
            while True:
                builds = await look.once(kube)
                if output in ("json", "yaml"):
                    print(document_text(running_document(builds), output))
                elif output == "name":
                    print("".join(f"{build.ref}\n" for build in builds if build.ref), end="")
                elif not watch or sys.stdout.isatty() or builds != shown:
                    _print(builds, all_namespaces=all_namespaces, wide=output == "wide", again=watch)
                if not watch:
                    return 0
                shown = builds
                await asyncio.sleep(_INTERVAL)

    return run_async(work)


def _print(builds: Sequence[RunningBuild], *, all_namespaces: bool, wide: bool, again: bool) -> None:
    if again and sys.stdout.isatty():
        print(_CLEAR, end="")
    if builds:
        print(running_table(builds, time.time(), namespaces=all_namespaces, wide=wide), flush=True)
    else:
        print("nobody builds", file=sys.stdout if again else sys.stderr, flush=True)


class _Look:
    """Looks at the same builders several times; what is not allowed is told once."""

    def __init__(self, builder: str, all_namespaces: bool) -> None:
        self._builder, self._all_namespaces = builder, all_namespaces
        self._sightings = Sightings()
        self._emit: Sink = told_once(note)

    async def once(self, kube: KubeClient) -> list[RunningBuild]:
        """The builds that run, by builder and pod. Raises ClusterError for a builder that is not there, ApiError, ApiUnreachable."""
        builders = await self._builders(kube)
        leases = await self._leases(kube)
        found = await asyncio.gather(*(self._builds(kube, builder, leases) for builder in builders))
        return [build for builds in found for build in builds]

    async def _builders(self, kube: KubeClient) -> Sequence[Builder]:
        if not self._builder:
            return await list_builders(kube, all_namespaces=self._all_namespaces, emit=self._emit)
        return (await require_builder(kube, self._builder, emit=self._emit),)

    async def _leases(self, kube: KubeClient) -> Sequence[Lease]:
        try:
            leases = await list_leases(kube, self._builder, all_namespaces=self._all_namespaces)
        except Forbidden:
            self._emit(Note(text="who builds is not known: you may not list leases"))
            return ()
        dead = self._sightings.dead(leases, now=asyncio.get_running_loop().time(), server_time=kube.server_time)
        return [lease for lease in leases if lease not in dead]

    async def _builds(self, kube: KubeClient, builder: Builder, leases: Sequence[Lease]) -> list[RunningBuild]:
        async def ask(link: Link) -> list[HistoryRecord]:
            return await list_records(link.client, active_only=True)

        ready = {pod.name: pod for pod in builder.pods if pod.usable}
        members = [member for member in members_of(builder, kube) if member.name in ready]
        replies = await ask_each(members, ask, deadline=deadlines().call, doing="listing the builds")
        found = []
        for reply in replies:
            name = reply.member.name
            if reply.error is not None:
                self._emit(Note(text=f"what pod {name} builds is not known: {reply.error.message}", level="warning"))
            builds = PodBuilds(
                namespace=builder.namespace,
                builder=builder.name,
                pod=name,
                node=reply.member.node,
                architecture=ready[name].architecture,
                records=reply.answer,
                leases=[lease for lease in leases if (lease.namespace, lease.pod) == (builder.namespace, name)],
            )
            found += running_builds(builds)
        return found
