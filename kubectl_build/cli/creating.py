"""The work behind `create`: defaults, file and flags made one spec; the builder made so, or what would be made printed."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

from kubectl_build.builder.amounts import parse_seconds
from kubectl_build.builder.create import CreateResult, bootstrap_architectures, create_builder
from kubectl_build.builder.defaults import load_defaults
from kubectl_build.builder.difference import change_in_words
from kubectl_build.builder.documents import BuilderFile
from kubectl_build.builder.ladder import preview_levels
from kubectl_build.builder.manifests import Manifests, render, to_yaml
from kubectl_build.builder.names import check_builder_name
from kubectl_build.builder.recorded import Recorded, base_of_change, read_recorded, refuse_unknown_names
from kubectl_build.builder.rehearse import rehearse
from kubectl_build.builder.roles import rbac_objects
from kubectl_build.builder.spec import BuilderSpec, SpecChange, merge
from kubectl_build.builder.spec_yaml import check_spec
from kubectl_build.cli.builders import ensure_started
from kubectl_build.cli.connect import connected
from kubectl_build.cli.create_flags import DryRun
from kubectl_build.cli.main import run_async
from kubectl_build.cli.notes import note
from kubectl_build.cli.preference import remember_builder
from kubectl_build.cluster.client import KubeClient
from kubectl_build.daemons import active_builds
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import Forbidden
from kubectl_build.model.events import Note
from kubectl_build.model.kubeflags import KubeFlags
from kubectl_build.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """What `create` was asked for.

    `change` goes over `file`, else over what the builder has recorded (without what is `reset`), else over the cluster's defaults.
    `ready_timeout` "" is the usual one.
    """

    name: str
    change: SpecChange
    file: BuilderFile | None = None
    reset: tuple[str, ...] = ()
    bootstrap: bool = False
    use: bool = False
    with_rbac: bool = False
    ready_timeout: str = ""


def create_builders_objects(creation: Creation, cluster: KubeFlags, *, dry_run: DryRun | None) -> int:
    """Create or change a builder and say what was done; with `dry_run` print the objects instead."""
    name = check_builder_name(creation.name)
    ready = parse_seconds(creation.ready_timeout, what="--driver-opt timeout") if creation.ready_timeout else deadlines().ready

    async def work() -> int:
        async with connected(cluster) as kube:
            recorded = await _recorded(kube, name, needed=dry_run is not DryRun.CLIENT)
            spec = await _spec(kube, creation, recorded)
            check_spec(spec)
            pools = creation.file.architectures if creation.file else ()
            if creation.bootstrap:
                pools = tuple(dict.fromkeys([*pools, *await bootstrap_architectures(kube, spec, note)]))
            if dry_run is not None:
                wanted = spec.fixed_architectures or pools
                levels = await preview_levels(kube, name, spec, wanted, note)
                await _print(kube, render(name, kube.namespace, spec, wanted, levels=levels), name, dry_run, with_rbac=creation.with_rbac)
                return 0
            over = recorded if creation.file is None else None
            result = await create_builder(
                kube, name, spec, architectures=pools, active_builds=lambda pod: active_builds(kube, pod), emit=note, over=over
            )
            print(_created(name, result), flush=True)  # before what stderr says of it, also where both go into one pipe
            _tell_change(recorded, spec)
            if creation.use:
                remember_builder(name, kube.context_name, kube.namespace, os.environ)
            if creation.bootstrap:
                await ensure_started(kube, name, result.pools, deadline=ready, fresh=result.fresh)
        return 0

    return run_async(work)


async def _recorded(kube: KubeClient, name: str, *, needed: bool) -> Recorded | None:
    """What is changed. Objects that are only shown may be for another cluster, so there a missing right is no obstacle."""
    try:
        return await read_recorded(kube, name)
    except Forbidden as error:
        if needed:
            raise
        note(Note(text=f"printed as for a new builder: {error.message}"))
        return None


async def _spec(kube: KubeClient, creation: Creation, recorded: Recorded | None) -> BuilderSpec:
    """A file has a whole spec, with the defaults of when it was printed, as has what was recorded; those of now have no say."""
    if creation.file is not None:
        return merge(merge(BuilderSpec(), creation.file.change), creation.change)
    if recorded is None:
        refuse_unknown_names(creation.reset)
        return merge(await load_defaults(kube, note), creation.change)
    defaults = await load_defaults(kube, note) if creation.reset else BuilderSpec()
    return merge(base_of_change(creation.name, recorded, defaults, creation.reset), creation.change)


def _tell_change(recorded: Recorded | None, spec: BuilderSpec) -> None:
    """Say what is different, and what is not. A size that was not asked for is as it was."""
    if recorded is not None and recorded.spec is not None:
        after = spec if spec.replicas is not None else replace(spec, replicas=recorded.spec.replicas)
        for line in change_in_words(recorded.spec, after):
            print(line, file=sys.stderr)


async def _print(kube: KubeClient, manifests: Manifests, name: str, dry_run: DryRun, *, with_rbac: bool) -> None:
    objects = manifests.objects if dry_run is DryRun.CLIENT else await rehearse(kube, manifests.objects, builder=name)
    roles = rbac_objects(name, kube.namespace) if with_rbac else ()
    print(to_yaml([*objects, *roles]), end="")


def _created(name: str, result: CreateResult) -> str:
    words = "created" if result.created else "changed" if result.changed or result.replaced else "unchanged"
    if result.busy:
        words += f"; still building with the earlier configuration: {', '.join(result.busy)}"
    return f'builder "{name}" {words}'
