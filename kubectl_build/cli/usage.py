"""`kubectl buildkit du` and `prune`, with the flags of `docker buildx du` and `prune`."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

from kubectl_build.cli.environment import named_builder
from kubectl_build.cli.kubeflags import with_cluster_flags
from kubectl_build.model.kubeflags import KubeFlags


class UsageFormat(StrEnum):
    """Values of -o."""

    JSON = "json"


Builder = Annotated[str, typer.Option("--builder", help="Name of the builder, or a daemon's address such as tcp://HOST:PORT.")]
Filter = Annotated[
    list[str] | None,
    typer.Option("--filter", help="Only entries of which this holds, repeatable: type=exec.cachemount, until=24h, id=ID, inuse, shared."),
]
Output = Annotated[UsageFormat | None, typer.Option("--output", "-o", help="json: all there is.")]
Timeout = Annotated[str | None, typer.Option("--timeout", help="Time for reaching each daemon, for example 20s.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="All that is known of each entry.")]


@with_cluster_flags
def du(
    builder: Builder = "",
    filter: Filter = None,
    verbose: Verbose = False,
    output: Output = None,
    timeout: Timeout = None,
    *,
    kube_flags: KubeFlags,
) -> int:
    """Show what the caches of all of the builder's pods hold."""
    from kubectl_build.cli.options.filters import parse_filters
    from kubectl_build.cli.usage_work import Shown, show_usage
    from kubectl_build.deadlines import parse_duration

    shown = Shown(verbose=verbose, as_json=output is not None)
    connecting = parse_duration(timeout, "--timeout") if timeout is not None else None
    return show_usage(named_builder(builder, os.environ), kube_flags, parse_filters(filter or ()), shown, connecting=connecting)


@with_cluster_flags
def prune(
    builder: Builder = "",
    everything: Annotated[bool, typer.Option("--all", "-a", help="Internal and frontend images too.")] = False,
    filter: Filter = None,
    max_used_space: Annotated[str | None, typer.Option("--max-used-space", help="At most this much may stay, of each pod.")] = None,
    min_free_space: Annotated[str | None, typer.Option("--min-free-space", help="This much of each pod's disk is to be free.")] = None,
    reserved_space: Annotated[str | None, typer.Option("--reserved-space", help="This much stays in any case, of each pod.")] = None,
    keep_storage: Annotated[str | None, typer.Option("--keep-storage", help="The old name of --reserved-space.", hidden=True)] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Do not ask.")] = False,
    verbose: Verbose = False,
    output: Output = None,
    timeout: Timeout = None,
    *,
    kube_flags: KubeFlags,
) -> int:
    """Delete build cache in all of the builder's pods."""
    from kubectl_build.buildkit.usage import PruneOrder
    from kubectl_build.cli.options.filters import parse_filters, parse_space
    from kubectl_build.cli.usage_work import Shown, prune_usage
    from kubectl_build.deadlines import parse_duration

    reserved = ("--reserved-space", reserved_space) if reserved_space is not None else ("--keep-storage", keep_storage)
    order = PruneOrder(
        filter=parse_filters(filter or ()),
        everything=everything,
        reserved_space=parse_space(*reserved),
        max_used_space=parse_space("--max-used-space", max_used_space),
        min_free_space=parse_space("--min-free-space", min_free_space),
    )
    shown = Shown(verbose=verbose, as_json=output is not None)
    connecting = parse_duration(timeout, "--timeout") if timeout is not None else None
    return prune_usage(named_builder(builder, os.environ), kube_flags, order, shown, connecting=connecting, force=force)
