"""`kubectl buildkit imagetools`: images in registries, looked at and joined. `docker buildx imagetools` has the same flags."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kubectl_build.cli.flags import ProgressMode
from kubectl_build.cli.kubeflags import with_cluster_flags
from kubectl_build.errors import UsageError
from kubectl_build.model.kubeflags import KubeFlags

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)

_HELP = {"help_option_names": ["-h", "--help"]}
_FROM = "Registry"


class InspectFormat(StrEnum):
    """Values of `inspect -o`."""

    JSON = "json"


Builder = Annotated[
    str | None,
    typer.Option(
        "--builder",
        help="Reach the registries through a running pod of this builder, and trust what it trusts. By default directly from here.",
        rich_help_panel=_FROM,
    ),
]
Secrets = Annotated[
    list[str] | None,
    typer.Option(
        "--registry-secret",
        help="Kubernetes secret with logins, repeatable; then docker's own configuration counts.",
        rich_help_panel=_FROM,
    ),
]
Ca = Annotated[
    Path | None,
    typer.Option("--ca", help="PEM file of a CA to trust besides the system's (and the builder's).", rich_help_panel=_FROM),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure",
        help="Do not verify registries' certificates, and speak plain HTTP where there is no TLS; localhost needs no flag for that.",
        rich_help_panel=_FROM,
    ),
]


@app.callback(context_settings=_HELP)
def group() -> None:
    """Work on images in registries."""


@app.command(context_settings=_HELP)
@with_cluster_flags
def inspect(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the image, with a tag or digest.")],
    format: Annotated[
        str, typer.Option("--format", help='A Go template of fields, index and json: "{{json .Image}}", "{{.Manifest.Digest}}".')
    ] = "",
    raw: Annotated[bool, typer.Option("--raw", help="The manifest's own bytes.")] = False,
    output: Annotated[InspectFormat | None, typer.Option("--output", "-o", help="json: all there is.")] = None,
    builder: Builder = None,
    registry_secret: Secrets = None,
    ca: Ca = None,
    insecure: Insecure = False,
    *,
    kube_flags: KubeFlags,
) -> int:
    """Show an image in a registry."""
    from kubectl_build.cli import images

    if sum((bool(format), raw, output is not None)) > 1:
        raise UsageError("--format, --raw and -o cannot be used together")
    access = images.access(builder, registry_secret or (), ca, insecure=insecure)
    return images.inspect_image(name, access, kube_flags, template=format, raw=raw, as_json=output is not None)


@app.command(context_settings=_HELP)
@with_cluster_flags
def create(
    sources: Annotated[list[str] | None, typer.Argument(metavar="[SOURCE...]", help="Tags, digests or descriptors in JSON.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", "-t", help="Name of the new image, repeatable.")] = None,
    file: Annotated[list[Path] | None, typer.Option("--file", "-f", help="File with a source, repeatable; these go first.")] = None,
    append: Annotated[bool, typer.Option("--append", help="Append to what the first tag names now.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the image instead of pushing it.")] = False,
    annotation: Annotated[
        list[str] | None,
        typer.Option("--annotation", help="index:KEY=VALUE or manifest-descriptor[PLATFORM]:KEY=VALUE, repeatable."),
    ] = None,
    platform: Annotated[list[str] | None, typer.Option("--platform", "-p", help="Only these platforms of the sources.")] = None,
    prefer_index: Annotated[
        bool, typer.Option("--prefer-index/--no-prefer-index", help="Put a lone image into an index; else it is copied as it is.")
    ] = True,
    metadata_file: Annotated[Path | None, typer.Option("--metadata-file", help="Write the result's descriptor and name to a file.")] = None,
    progress: Annotated[ProgressMode, typer.Option("--progress", help="auto, none, plain, quiet, rawjson or tty.")] = ProgressMode.AUTO,
    builder: Builder = None,
    registry_secret: Secrets = None,
    ca: Ca = None,
    insecure: Insecure = False,
    *,
    kube_flags: KubeFlags,
) -> int:
    """Join images that are in registries into one, under new tags.

    What a tag's repository lacks is copied there: mounted within a registry, streamed between registries.
    """
    from kubectl_build.cli import images

    request = images.create_request(
        sources or (), file or (), tag or (), annotation or (), platform or (), append=append, dry_run=dry_run, prefer_index=prefer_index
    )
    access = images.access(builder, registry_secret or (), ca, insecure=insecure)
    return images.create_image(request, access, kube_flags, dry_run=dry_run, progress=progress.value, metadata_file=metadata_file)
