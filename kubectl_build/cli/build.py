"""`kubectl build`: from flags to a BuildRequest, checked before anything is asked of the cluster."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kubectl_build.cli.ahead import key_ahead
from kubectl_build.cli.environment import builder_name, docker_proxies, named_builder, source_policy
from kubectl_build.cli.files import check_result_file, forget_result
from kubectl_build.cli.flags import BuildFlags, GroupedCommand, PlanFormat, ProgressMode, ignored_flags, with_build_flags
from kubectl_build.cli.inputs import Inputs, open_inputs, parse_context_names
from kubectl_build.cli.kubeflags import with_cluster_flags
from kubectl_build.cli.options.annotations import parse_annotations
from kubectl_build.cli.options.arguments import (
    add_environment,
    parse_build_args,
    parse_labels,
    parse_tags,
    platforms_of,
    read_build_args,
)
from kubectl_build.cli.options.attests import parse_attests
from kubectl_build.cli.options.caches import parse_caches, with_credentials
from kubectl_build.cli.options.calls import parse_call, parse_policy, refuse_policy
from kubectl_build.cli.options.limits import (
    parse_add_hosts,
    parse_entitlements,
    parse_network,
    parse_resources,
    parse_shm_size,
    parse_ulimits,
)
from kubectl_build.cli.options.outputs import check_destinations, check_outputs, parse_output, refuse_load, with_push
from kubectl_build.cli.options.secrets import parse_secrets, parse_ssh
from kubectl_build.cli.remote import is_git_over_ssh
from kubectl_build.cli.vcs import vcs_info
from kubectl_build.deadlines import parse_duration
from kubectl_build.errors import UsageError
from kubectl_build.model.inputs import Dockerfile, LocalContext, local_directories
from kubectl_build.model.kubeflags import KubeFlags
from kubectl_build.model.request import BuildRequest, OutputType
from kubectl_build.transport.addresses import parse_address

if TYPE_CHECKING:  # what draws is not imported for --help
    from kubectl_build.progress.display import Mode

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

# In buildx too "none" shows nothing, and "quiet" shows nothing but the image ID.
_DISPLAYS: Mapping[ProgressMode, Mode] = {
    ProgressMode.AUTO: "auto",
    ProgressMode.NONE: "quiet",
    ProgressMode.PLAIN: "plain",
    ProgressMode.QUIET: "quiet",
    ProgressMode.RAWJSON: "rawjson",
    ProgressMode.TTY: "tty",
}

BUILD_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 160}


@app.command(cls=GroupedCommand, context_settings=BUILD_SETTINGS, epilog="Docs: README.md and docs/ of kubectl-build.")
@with_cluster_flags
@with_build_flags
def build(
    path: Annotated[str, typer.Argument(metavar="PATH | URL | -", help="The build context: directory, git or http URL, stdin.")],
    *,
    flags: BuildFlags,
    kube_flags: KubeFlags,
) -> int:
    """Build an image from a Dockerfile with BuildKit pods in your cluster."""
    environ = os.environ
    mode, quiet = display_mode(flags, environ)
    request = parse_request(flags, path, environ)
    timeout = parse_duration(flags.timeout, "--timeout") if flags.timeout else None
    _check_files(request, flags)
    named = parse_context_names(flags.build_context)
    without_policies = parse_policy(flags.policy)
    stdin = getattr(sys.stdin, "buffer", None)
    with open_inputs(path, flags.file or None, named, ignore_file=flags.ignore_file or None, stdin=stdin) as inputs:
        if not without_policies:
            _check_default_policy(inputs)
        request = with_inputs(request, inputs, flags.file, environ)
        if flags.iidfile is not None:
            forget_result(flags.iidfile)
        return _run(request, kube_flags, flags, mode=mode, quiet=quiet, timeout=timeout)


def _run(request: BuildRequest, kube_flags: KubeFlags, flags: BuildFlags, *, mode: ProgressMode, quiet: bool, timeout: float | None) -> int:
    unnamed = not named_builder(flags.builder, os.environ)
    with key_ahead(request.tree, os.environ) as shared_key:
        from kubectl_build.cli.run import run_build, run_call, run_plan
        from kubectl_build.cli.verbosity import DETAILS

        if flags.plan is not None:
            as_json = flags.plan is PlanFormat.JSON
            return run_plan(request, kube_flags, as_json=as_json, unnamed=unnamed, timeout=timeout, shared_key=shared_key)
        if request.call is not None:
            return run_call(request, kube_flags, mode=_DISPLAYS[mode], unnamed=unnamed, timeout=timeout, shared_key=shared_key)
        return run_build(
            request,
            kube_flags,
            mode=_DISPLAYS[mode],
            verbosity=max(flags.verbose, DETAILS if flags.debug else 0),
            quiet=quiet,
            iidfile=flags.iidfile,
            metadata_file=flags.metadata_file,
            report=flags.report,
            unnamed=unnamed,
            timeout=timeout,
            shared_key=shared_key,
        )


def display_mode(flags: BuildFlags, environ: Mapping[str, str]) -> tuple[ProgressMode, bool]:
    """How progress is shown, and whether only the image ID is printed. BUILDKIT_PROGRESS counts where the flags leave it open.

    Raises UsageError.
    """
    mode, quiet = flags.progress, flags.quiet or flags.progress is ProgressMode.QUIET
    if quiet:
        if mode not in (ProgressMode.AUTO, ProgressMode.QUIET, ProgressMode.NONE):
            raise UsageError(f"progress={mode} and quiet cannot be used together")
        return ProgressMode.QUIET, True
    said = environ.get("BUILDKIT_PROGRESS")
    if mode is ProgressMode.AUTO and said:
        if said not in tuple(ProgressMode):
            raise UsageError(f'invalid progress mode "{said}" in BUILDKIT_PROGRESS', hint=f"modes are {', '.join(ProgressMode)}")
        mode = ProgressMode(said)
    return mode, False


def parse_request(flags: BuildFlags, path: str, environ: Mapping[str, str]) -> BuildRequest:
    """Understand all flags but those that name contexts and Dockerfiles: `with_inputs` puts these in. Raises UsageError, ConfigError."""
    for text in ignored_flags(flags):
        _warn(text)
    if flags.load:
        raise refuse_load("--load")
    if "" in flags.registry_secret:
        raise UsageError("--registry-secret has no name", hint="see: kubectl get secrets")
    if flags.retries < 0:
        raise UsageError(f"--retries {flags.retries} is less than 0", hint="0 is for no second try")
    if flags.no_cache and flags.no_cache_filter:
        raise UsageError("--no-cache and --no-cache-filter cannot currently be used together", hint="--no-cache is for all stages")
    request = BuildRequest(
        context=LocalContext(Path(path)),
        dockerfile=Dockerfile(),
        tags=parse_tags(flags.tag),
        platforms=platforms_of(flags.platform, environ, platform.machine() or "amd64"),
        labels=parse_labels(flags.label),
        annotations=parse_annotations(flags.annotation),
        attests=parse_attests(flags.attest, flags.provenance, flags.sbom),
        target=flags.target,
        no_cache=flags.no_cache,
        no_cache_filter=tuple(stage for text in flags.no_cache_filter for stage in text.split(",")),
        pull=flags.pull,
        secrets=parse_secrets(flags.secret, environ),
        call=parse_call(flags.call or flags.print_, check=flags.check),
        builder=_builder(flags.builder, environ),
        emulation=flags.emulation,
        context_key=flags.context_key,
        auth_via=flags.auth_via,
        compress_context=flags.compress_context,
        registry_secrets=tuple(flags.registry_secret),
        retries=flags.retries,
        source_policy=source_policy(environ),
    )
    request = _with_steps(request, flags)
    request = _with_outputs(request, flags)
    return _with_environment(request, flags, path, environ)


def _builder(flag: str, environ: Mapping[str, str]) -> str:
    name = builder_name(flag, environ)
    parse_address(name)
    return name


def _with_steps(request: BuildRequest, flags: BuildFlags) -> BuildRequest:
    entitlements, _ = parse_entitlements(flags.allow)
    return replace(
        request,
        entitlements=entitlements,
        add_hosts=parse_add_hosts(flags.add_host),
        network=parse_network(flags.network),
        cgroup_parent=flags.cgroup_parent,
        shm_size=parse_shm_size(flags.shm_size),
        ulimits=parse_ulimits(flags.ulimit),
        resources=parse_resources([*flags.old_limits, *flags.resource]),
    )


def _with_outputs(request: BuildRequest, flags: BuildFlags) -> BuildRequest:
    outputs = tuple(parse_output(text) for text in flags.output if text)
    outputs = with_push(outputs) if flags.push else outputs
    if request.call is None:
        check_outputs(outputs, request.tags, request.platforms)
    _, allow_delete = parse_entitlements(flags.allow)
    check_destinations(outputs, allow_delete=allow_delete, stdout_is_terminal=sys.stdout.isatty())
    return replace(request, outputs=outputs)


def _with_environment(request: BuildRequest, flags: BuildFlags, path: str, environ: Mapping[str, str]) -> BuildRequest:
    """Add what the environment has a say in: build arguments, logins of caches, an agent for a git context."""
    arguments = {name: value for file in flags.build_arg_file for name, value in read_build_args(file, environ).items()}
    arguments |= parse_build_args(flags.build_arg, environ)
    ssh = flags.ssh
    if not any(ssh) and is_git_over_ssh(path) and environ.get("SSH_AUTH_SOCK") and not os.path.isdir(path):
        ssh = ["default"]
    return replace(
        request,
        build_args=add_environment(arguments, environ, docker_proxies(environ)),
        cache_from=with_credentials(parse_caches("--cache-from", flags.cache_from), environ, _warn),
        cache_to=with_credentials(parse_caches("--cache-to", flags.cache_to), environ, _warn),
        ssh=parse_ssh(ssh),
    )


def with_inputs(request: BuildRequest, inputs: Inputs, file: str, environ: Mapping[str, str]) -> BuildRequest:
    """Put the contexts in, with what git says about them. `file` is the value of --file."""
    found = replace(request, context=inputs.context, dockerfile=inputs.dockerfile, named_contexts=inputs.named_contexts)
    if not isinstance(inputs.context, LocalContext) or not inputs.own:
        return found
    directories = local_directories(inputs.context, inputs.dockerfile, inputs.named_contexts)
    info = vcs_info(inputs.context.path, file or None, directories, environ, _warn)
    return replace(found, vcs=info.attrs, labels={**request.labels, **info.labels})


def _check_files(request: BuildRequest, flags: BuildFlags) -> None:
    """Refuse, before anything starts, files that cannot be written in the end."""
    if flags.iidfile is not None and any(o.type in (OutputType.LOCAL, OutputType.TAR) for o in request.outputs):
        raise UsageError("local and tar exporters are incompatible with image ID file: --iidfile needs an image")
    for flag, file in (("--iidfile", flags.iidfile), ("--metadata-file", flags.metadata_file), ("--report", flags.report)):
        if file is not None:
            check_result_file(flag, file)


def _check_default_policy(inputs: Inputs) -> None:
    """Refuse to build beside a policy that buildx would apply by itself."""
    dockerfile = inputs.dockerfile
    if dockerfile.directory is not None and (dockerfile.directory / f"{dockerfile.name}.rego").exists():
        raise refuse_policy(f'the policy "{dockerfile.name}.rego" beside the Dockerfile')


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)
