"""`kubectl buildkit`: the verbs on builders. Each command turns flags into values and calls one function that does the work."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from kubectl_build.cli import doctor, history, imagetools, ps, report, sharing, usage
from kubectl_build.cli.build import BUILD_SETTINGS
from kubectl_build.cli.build import build as build_command
from kubectl_build.cli.create import create
from kubectl_build.cli.flags import GroupedCommand
from kubectl_build.cli.kubeflags import with_cluster_flags
from kubectl_build.model.kubeflags import KubeFlags

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)

_HELP = {"help_option_names": ["-h", "--help"]}
app.command("build", cls=GroupedCommand, context_settings=BUILD_SETTINGS)(build_command)
app.command("create", cls=GroupedCommand, context_settings=_HELP)(create)
app.add_typer(imagetools.app, name="imagetools")
app.add_typer(history.app, name="history")
app.command(context_settings=_HELP)(ps.ps)
app.command(context_settings=_HELP)(report.report)
app.command(context_settings=_HELP)(usage.du)
app.command(context_settings=_HELP)(usage.prune)
app.command(context_settings=_HELP)(doctor.doctor)
app.command(context_settings=_HELP)(sharing.use)
app.command(context_settings=_HELP)(sharing.stop)
app.command(context_settings=_HELP)(sharing.rm)
app.command(context_settings=_HELP)(sharing.gc)


class ListFormat(StrEnum):
    """Values of `ls -o`."""

    WIDE = "wide"
    NAME = "name"
    JSON = "json"
    YAML = "yaml"


class InspectFormat(StrEnum):
    """Values of `inspect -o`."""

    JSON = "json"
    YAML = "yaml"


@app.callback(context_settings=_HELP)
def group() -> None:
    """Manage BuildKit builders in your cluster."""


@app.command("ls", context_settings=_HELP)
@with_cluster_flags
def list_(
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Builders of every namespace.")] = False,
    output: Annotated[ListFormat | None, typer.Option("--output", "-o", help="wide, name, json or yaml.")] = None,
    *,
    kube_flags: KubeFlags,
) -> int:
    """List builders."""
    from kubectl_build.cli import builders

    return builders.list_all(kube_flags, all_namespaces=all_namespaces, output=output.value if output else "")


@app.command(context_settings=_HELP)
@with_cluster_flags
def inspect(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Name of the builder.")] = None,
    bootstrap: Annotated[bool, typer.Option("--bootstrap", help="Start the builder first.")] = False,
    output: Annotated[InspectFormat | None, typer.Option("--output", "-o", help="json or yaml.")] = None,
    *,
    kube_flags: KubeFlags,
) -> int:
    """Show a builder, its pods and the platforms that their daemons say they run."""
    from kubectl_build.cli import builders

    return builders.inspect(name, kube_flags, bootstrap=bootstrap, output=output.value if output else "")


@app.command(context_settings=_HELP)
@with_cluster_flags
def version(
    builder: Annotated[str | None, typer.Option("--builder", help="Name of the builder.", envvar="BUILDX_BUILDER")] = None,
    *,
    kube_flags: KubeFlags,
) -> int:
    """Print the version of this client and of each daemon of the builder."""
    from kubectl_build.cli import builders

    return builders.version(builder, kube_flags)
