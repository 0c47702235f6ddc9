"""`kubectl buildkit report`: the page of --report about a build that is over, from what the daemon remembers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from kubectl_build.cli.environment import named_builder
from kubectl_build.cli.kubeflags import with_cluster_flags
from kubectl_build.model.kubeflags import KubeFlags


@with_cluster_flags
def report(
    refs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[REF...]", help="Build IDs or their beginnings, ^N; several for the pools of one build.", show_default=False
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; by default build-ID.html, - is stdout.")] = None,
    builder: Annotated[str, typer.Option("--builder", help="Name of the builder, or a daemon's address such as tcp://HOST:PORT.")] = "",
    *,
    kube_flags: KubeFlags,
) -> int:
    """Write a page about a build in the history: timeline, critical path, cache, Dockerfile, layers, logs."""
    from kubectl_build.cli.report_work import write_report

    return write_report(named_builder(builder, os.environ), kube_flags, refs or [""], output)
