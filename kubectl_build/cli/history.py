"""`kubectl buildkit history`: the builds that a builder's daemons remember, with the words of `docker buildx history`."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kubectl_build.cli.environment import named_builder
from kubectl_build.cli.kubeflags import with_cluster_flags
from kubectl_build.model.kubeflags import KubeFlags

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, help="Show and delete the builds of a builder.")

_HELP = {"help_option_names": ["-h", "--help"]}


class InspectOutput(StrEnum):
    """Values of `inspect -o`."""

    JSON = "json"
    YAML = "yaml"


class ListOutput(StrEnum):
    """Values of `ls -o`."""

    WIDE = "wide"
    NAME = "name"
    JSON = "json"
    YAML = "yaml"


class ListFormat(StrEnum):
    """Values of `ls --format`."""

    TABLE = "table"
    JSON = "json"


class LogProgress(StrEnum):
    """Values of `logs --progress`."""

    PLAIN = "plain"
    RAWJSON = "rawjson"


Builder = Annotated[str, typer.Option("--builder", help="Name of the builder, or a daemon's address such as tcp://HOST:PORT.")]
Ref = Annotated[
    str, typer.Argument(metavar="[REF]", help="Build ID or its beginning; ^N is the Nth before the newest.", show_default=False)
]


@app.callback(context_settings=_HELP)
def group() -> None:
    """Show and delete the builds that a builder remembers."""


@app.command("ls", context_settings=_HELP)
@with_cluster_flags
def list_(
    builder: Builder = "",
    filter: Annotated[
        list[str] | None,
        typer.Option("--filter", help="Only builds of which this holds, repeatable: status=error, ref=ID, duration>30s, startedAt>24h."),
    ] = None,
    format: Annotated[ListFormat, typer.Option("--format", help="table, or json: one object a line.")] = ListFormat.TABLE,
    no_trunc: Annotated[bool, typer.Option("--no-trunc", help="Long names too.")] = False,
    output: Annotated[ListOutput | None, typer.Option("--output", "-o", help="wide, name (the IDs), json or yaml.")] = None,
    *,
    kube_flags: KubeFlags,
) -> int:
    """List builds of all of the builder's pods, the newest first."""
    from kubectl_build.cli.history_work import ListShape, list_builds

    shape = ListShape(output=output.value if output else "", lines=format is ListFormat.JSON, whole=no_trunc)
    return list_builds(named_builder(builder, os.environ), kube_flags, filter or (), shape)


@app.command(context_settings=_HELP)
@with_cluster_flags
def inspect(
    ref: Ref = "",
    builder: Builder = "",
    output: Annotated[InspectOutput | None, typer.Option("--output", "-o", help="json or yaml.")] = None,
    *,
    kube_flags: KubeFlags,
) -> int:
    """Show one build: what was asked, how it ended, what it left."""
    from kubectl_build.cli.history_work import inspect_build

    return inspect_build(named_builder(builder, os.environ), kube_flags, ref, output=output.value if output else "")


@app.command(context_settings=_HELP)
@with_cluster_flags
def logs(
    ref: Ref = "",
    builder: Builder = "",
    progress: Annotated[LogProgress, typer.Option("--progress", help="plain or rawjson.")] = LogProgress.PLAIN,
    *,
    kube_flags: KubeFlags,
) -> int:
    """Print the log of a build again; of one that runs, until it ends."""
    from kubectl_build.cli.history_work import show_log

    return show_log(named_builder(builder, os.environ), kube_flags, ref, raw=progress is LogProgress.RAWJSON)


@app.command(context_settings=_HELP)
@with_cluster_flags
def rm(
    refs: Annotated[list[str] | None, typer.Argument(metavar="[REF...]", help="Build IDs or their beginnings.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All builds that have ended.")] = False,
    builder: Builder = "",
    *,
    kube_flags: KubeFlags,
) -> int:
    """Delete builds from the history. What they left in registries and caches stays."""
    from kubectl_build.cli.history_work import remove_builds

    return remove_builds(named_builder(builder, os.environ), kube_flags, refs or (), everything=everything)


@app.command(context_settings=_HELP)
@with_cluster_flags
def export(
    refs: Annotated[
        list[str] | None, typer.Argument(metavar="[REF...]", help="Build IDs or their beginnings; by default the newest.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All builds that have ended.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write, NAME.dockerbuild; else stdout.")] = None,
    builder: Builder = "",
    *,
    kube_flags: KubeFlags,
) -> int:
    """Write builds into an archive that Docker Desktop and `docker buildx history import` read."""
    from kubectl_build.cli.history_export import export_builds

    named = named_builder(builder, os.environ)
    return export_builds(named, kube_flags, refs or (), everything=everything, output=output)
