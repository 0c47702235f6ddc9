"""`kubectl build`: from flags to a BuildRequest, from a BuildResult to words and files."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kubectl_build.cli.files import check_result_file, forget_result
from kubectl_build.cli.kubeflags import with_cluster_flags
from kubectl_build.cli.options import check_outputs, parse_build_args, parse_labels, parse_output, parse_tags, with_push
from kubectl_build.errors import UsageError
from kubectl_build.model.inputs import Dockerfile, LocalContext
from kubectl_build.model.kubeflags import KubeFlags
from kubectl_build.model.platform import Platform, normalize, parse_platforms
from kubectl_build.model.request import BuildRequest, Emulation, OutputType

DEFAULT_BUILDER = "buildkit"


class ProgressMode(StrEnum):
    """Values of --progress."""

    AUTO = "auto"
    PLAIN = "plain"
    TTY = "tty"
    QUIET = "quiet"
    RAWJSON = "rawjson"


class PlanFormat(StrEnum):
    """Values of --plan."""

    TABLE = "table"
    JSON = "json"


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(context_settings={"help_option_names": ["-h", "--help"]}, epilog="Docs: README.md and docs/ of kubectl-build.")
@with_cluster_flags
def build(
    path: Annotated[str, typer.Argument(metavar="PATH", help="The build context: a directory.")],
    tag: Annotated[list[str] | None, typer.Option("--tag", "-t", help="Name of the image, REGISTRY/NAME:TAG; repeatable.")] = None,
    file: Annotated[str | None, typer.Option("--file", "-f", help="The Dockerfile; PATH/Dockerfile by default.")] = None,
    platform: Annotated[list[str] | None, typer.Option("--platform", help="Platforms to build for: comma list, repeatable.")] = None,
    push: Annotated[bool, typer.Option("--push", help="Push the result: as --output=type=registry.")] = False,
    load: Annotated[bool, typer.Option("--load", help="Not possible in a cluster: says what to use instead.")] = False,
    registry_secret: Annotated[
        list[str] | None, typer.Option("--registry-secret", help="Kubernetes secret with registry logins; repeatable.")
    ] = None,
    builder: Annotated[str | None, typer.Option("--builder", help="Name of the builder.", envvar="BUILDX_BUILDER")] = None,
    build_arg: Annotated[list[str] | None, typer.Option("--build-arg", help="Build argument NAME=VALUE, or NAME; repeatable.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", help="Label of the image NAME=VALUE; repeatable.")] = None,
    target: Annotated[str, typer.Option("--target", help="The stage to build.")] = "",
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Run every step again.")] = False,
    pull: Annotated[bool, typer.Option("--pull", help="Ask the registries for base images even when they are cached.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the image ID, on stdout.")] = False,
    output: Annotated[list[str] | None, typer.Option("--output", "-o", help="Where the result goes: type=TYPE,key=value.")] = None,
    progress: Annotated[ProgressMode, typer.Option("--progress", help="How progress is shown.", envvar="BUILDKIT_PROGRESS")] = (
        ProgressMode.AUTO
    ),
    iidfile: Annotated[Path | None, typer.Option("--iidfile", help="Write the image ID to this file.")] = None,
    metadata_file: Annotated[Path | None, typer.Option("--metadata-file", help="Write what is known of the result here, as JSON.")] = None,
    emulation: Annotated[Emulation, typer.Option("--emulation", help="Whether steps may run under QEMU.")] = Emulation.AUTO,
    plan: Annotated[PlanFormat | None, typer.Option("--plan", help="Print which platform goes where and stop.", metavar="[=json]")] = None,
    *,
    kube_flags: KubeFlags,
) -> int:
    """Build an image from a Dockerfile with BuildKit pods in your cluster."""
    if load:
        raise UsageError(
            "--load is not possible: there is no local image store in a cluster", hint="use --push, or -o type=docker,dest=FILE"
        )
    if "" in (registry_secret or ()):
        raise UsageError("--registry-secret has no name", hint="see: kubectl get secrets")
    outputs = tuple(o for text in output or () if (o := parse_output(text)) is not None)
    tags = parse_tags(tag or ())
    request = BuildRequest(
        context=LocalContext(_context(path)),
        dockerfile=_in_directory(_dockerfile(path, file)),
        tags=tags,
        platforms=_platforms(platform or ()),
        build_args=parse_build_args(build_arg or (), os.environ),
        labels=parse_labels(label or ()),
        target=target,
        no_cache=no_cache,
        pull=pull,
        outputs=with_push(outputs) if push else outputs,
        builder=builder or DEFAULT_BUILDER,
        emulation=emulation,
        registry_secrets=tuple(registry_secret or ()),
    )
    check_outputs(request.outputs, tags)
    _check_files(request, iidfile, metadata_file)
    from kubectl_build.cli.run import run_build, run_plan

    if plan is not None:
        return run_plan(request, kube_flags, as_json=plan is PlanFormat.JSON)
    mode = ProgressMode.QUIET if quiet else progress
    return run_build(request, kube_flags, mode=mode.value, quiet=quiet, iidfile=iidfile, metadata_file=metadata_file)


def _context(path: str) -> Path:
    if path == "-" or "://" in path or path.startswith("git@"):
        raise UsageError(
            f'context "{path}" is not supported yet: only a directory is', hint="give the directory to build from, for example ."
        )
    context = Path(path)
    if not context.exists():
        raise UsageError(f'build context "{path}" does not exist', hint="give the directory to build from, for example .")
    if not context.is_dir():
        raise UsageError(f'build context "{path}" is not a directory', hint="give its directory, and the Dockerfile with -f")
    if not os.access(context, os.R_OK | os.X_OK):
        raise UsageError(f'build context "{path}" cannot be read', hint="check its permissions")
    return context


def _dockerfile(path: str, file: str | None) -> Path:
    """The Dockerfile: -f from the working directory, else in the context under one of its two usual names."""
    if file is not None:
        found = Path(file)
    else:
        found = Path(path, "Dockerfile")
        lower = Path(path, "dockerfile")
        if not found.exists() and lower.exists():
            found = lower
    if not found.exists():
        hint = "name it with -f FILE" if file is None else "paths of -f are looked up from the working directory"
        raise UsageError(f'Dockerfile "{found}" does not exist', hint=hint)
    if not found.is_file():
        raise UsageError(f'Dockerfile "{found}" is not a file')
    if not os.access(found, os.R_OK):
        raise UsageError(f'Dockerfile "{found}" cannot be read', hint="check its permissions")
    return found


def _in_directory(file: Path) -> Dockerfile:
    return Dockerfile(name=file.name, directory=file.absolute().parent)


def _platforms(texts: list[str] | tuple[str, ...]) -> tuple[Platform, ...]:
    if not texts and os.environ.get("DOCKER_DEFAULT_PLATFORM"):
        texts = [os.environ["DOCKER_DEFAULT_PLATFORM"]]
    if not texts:
        return ()
    machine = os.uname().machine if hasattr(os, "uname") else "amd64"
    return parse_platforms(texts, local=normalize("linux", machine))


def _check_files(request: BuildRequest, iidfile: Path | None, metadata_file: Path | None) -> None:
    """Refuse, before anything starts, files that cannot be written in the end; an old image ID must not outlive a failed build."""
    if iidfile is not None and any(o.type in (OutputType.LOCAL, OutputType.TAR) for o in request.outputs):
        raise UsageError("--iidfile needs an image: a local or tar output has no ID")
    for flag, file in (("--iidfile", iidfile), ("--metadata-file", metadata_file)):
        if file is not None:
            check_result_file(flag, file)
    for output in request.outputs:
        if output.dest == "-" and output.type is not OutputType.LOCAL and sys.stdout.isatty():
            raise UsageError(f"a {output.type} output would go to the terminal", hint=f"write to a file: -o type={output.type},dest=FILE")
        if output.type is OutputType.DOCKER and len(request.platforms) > 1:
            raise UsageError("output type docker holds one platform, and several are asked for", hint="use type=oci")
    if iidfile is not None:
        forget_result(iidfile)
