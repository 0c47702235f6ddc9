"""`kubectl buildkit ps`: the builds that run just now."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

from kubectl_build.cli.environment import named_builder
from kubectl_build.cli.kubeflags import with_cluster_flags
from kubectl_build.model.kubeflags import KubeFlags


class PsFormat(StrEnum):
    """Values of -o."""

    WIDE = "wide"
    NAME = "name"
    JSON = "json"
    YAML = "yaml"


@with_cluster_flags
def ps(
    builder: Annotated[str, typer.Option("--builder", help="Only this builder; else all of the namespace.")] = "",
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Builders of every namespace.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on showing, until interrupted.")] = False,
    output: Annotated[PsFormat | None, typer.Option("--output", "-o", help="wide, name (the build IDs), json or yaml.")] = None,
    *,
    kube_flags: KubeFlags,
) -> int:
    """Show who builds what just now, on which pod."""
    from kubectl_build.cli.ps_work import show_builds

    named = named_builder(builder, os.environ)
    return show_builds(named, kube_flags, all_namespaces=all_namespaces, watch=watch, output=output.value if output else "")
