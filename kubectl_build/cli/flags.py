"""The flags of `kubectl build`: those of `docker buildx build` v0.35.0 with its names, short forms and defaults, and ours.

typer reads a command's parameters from its signature; the decorator here makes it from the fields of one value, so that the command takes
that value. Flags that docker accepts and ignores are accepted, with a warning.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand

from kubectl_build.cli.flagged import keyword, with_parameters
from kubectl_build.model.request import DEFAULT_RETRIES, AuthVia, CompressContext, Emulation
from kubectl_build.values import dataclass


class ProgressMode(StrEnum):
    """Values of --progress."""

    AUTO = "auto"
    NONE = "none"
    PLAIN = "plain"
    QUIET = "quiet"
    RAWJSON = "rawjson"
    TTY = "tty"


class PlanFormat(StrEnum):
    """Values of --plan."""

    TABLE = "table"
    JSON = "json"


def _flag(panel: str, *names: str, help: str = "", metavar: str | None = None, count: bool = False) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, count=count, rich_help_panel=panel, hidden=not help, show_default=False)


_image = functools.partial(_flag, "Image")
_inputs = functools.partial(_flag, "Inputs")
_result = functools.partial(_flag, "Result")
_cache = functools.partial(_flag, "Cache")
_steps = functools.partial(_flag, "Steps")
_builder = functools.partial(_flag, "Builder")
_display = functools.partial(_flag, "Display")
_old = functools.partial(_flag, "")

Texts = list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFlags:
    """What was typed, not yet understood. A text that was not given is ""."""

    tag: Annotated[Texts, _image("--tag", "-t", help="Name of the image, REGISTRY/NAME:TAG; repeatable.", metavar="NAME")]
    platform: Annotated[Texts, _image("--platform", help="Platforms to build for: comma list, repeatable.", metavar="OS/ARCH")]
    target: Annotated[str, _image("--target", help="The stage to build.", metavar="STAGE")]
    label: Annotated[Texts, _image("--label", help="Label of the image; repeatable.", metavar="NAME=VALUE")]
    annotation: Annotated[Texts, _image("--annotation", help="Annotation, [KIND:]NAME=VALUE; repeatable.", metavar="TEXT")]
    attest: Annotated[Texts, _image("--attest", help="Attestation, type=sbom or type=provenance; off by default.", metavar="CSV")]
    provenance: Annotated[str, _image("--provenance", help="Short for --attest=type=provenance: true, false or options.", metavar="TEXT")]
    sbom: Annotated[str, _image("--sbom", help="Short for --attest=type=sbom: true, false or options.", metavar="TEXT")]

    file: Annotated[str, _inputs("--file", "-f", help="The Dockerfile: a path, a URL or -; else PATH/Dockerfile.", metavar="FILE")]
    build_arg: Annotated[Texts, _inputs("--build-arg", help="Build argument; NAME alone is the variable's value.", metavar="NAME=VALUE")]
    build_arg_file: Annotated[Texts, _inputs("--build-arg-file", help="File with build arguments, one a line.", metavar="FILE")]
    build_context: Annotated[Texts, _inputs("--build-context", help="Named context: directory, image, URL, layout.", metavar="NAME=PLACE")]
    ignore_file: Annotated[str, _inputs("--ignore-file", help="Use this file instead of .dockerignore.", metavar="FILE")]
    secret: Annotated[Texts, _inputs("--secret", help="Secret for steps, id=ID,src=FILE or id=ID,env=NAME.", metavar="CSV")]
    ssh: Annotated[Texts, _inputs("--ssh", help="ssh agent or keys for steps, ID[=SOCKET|KEY[,KEY]].", metavar="TEXT")]
    compress_context: Annotated[
        CompressContext, _inputs("--compress-context", help="Compress what is sent: auto (slow links), on or off.", metavar="WHEN")
    ]
    pull: Annotated[bool, _inputs("--pull", help="Ask the registries again for base images.")]
    policy: Annotated[Texts, _inputs("--policy", help="Policies are not evaluated here: only disabled=true.", metavar="CSV")]

    output: Annotated[Texts, _result("--output", "-o", help="Where the result goes, type=TYPE,dest=PATH; repeatable.", metavar="CSV")]
    push: Annotated[bool, _result("--push", help="Push the result: short for --output=type=registry.")]
    load: Annotated[bool, _result("--load", help="Not possible in a cluster: says what to use instead.")]
    iidfile: Annotated[Path | None, _result("--iidfile", help="Write the image ID to this file.", metavar="FILE")]
    metadata_file: Annotated[Path | None, _result("--metadata-file", help="Write what is known of the result, as JSON.", metavar="FILE")]
    report: Annotated[Path | None, _result("--report", help="Write a page about the build to this file, FILE.html.", metavar="FILE")]
    call: Annotated[str, _result("--call", help="Ask instead of building: check, outline or targets.", metavar="METHOD")]
    check: Annotated[bool, _result("--check", help="Check the Dockerfile: short for --call=check.")]

    cache_from: Annotated[Texts, _cache("--cache-from", help="Cache to use, a reference or type=TYPE,...; repeatable.", metavar="CSV")]
    cache_to: Annotated[Texts, _cache("--cache-to", help="Where to keep the cache, as --cache-from; repeatable.", metavar="CSV")]
    no_cache: Annotated[bool, _cache("--no-cache", help="Run every step again.")]
    no_cache_filter: Annotated[Texts, _cache("--no-cache-filter", help="Run the steps of these stages again.", metavar="STAGES")]

    add_host: Annotated[Texts, _steps("--add-host", help="Host name for steps, HOST:IP; comma list, repeatable.", metavar="TEXT")]
    allow: Annotated[Texts, _steps("--allow", help="Right for steps: network.host, security.insecure, device.", metavar="RIGHT")]
    cgroup_parent: Annotated[str, _steps("--cgroup-parent", help="Parent cgroup of steps.", metavar="CGROUP")]
    network: Annotated[str, _steps("--network", help="Network of steps: default, none or host.", metavar="MODE")]
    resource: Annotated[Texts, _steps("--resource", help="Limit for each step, memory=2g or cpu-quota=50000.", metavar="NAME=VALUE")]
    shm_size: Annotated[str, _steps("--shm-size", help="Size of /dev/shm for steps, for example 128m.", metavar="BYTES")]
    ulimit: Annotated[Texts, _steps("--ulimit", help="Limit of processes in steps, NAME=SOFT[:HARD]; repeatable.", metavar="TEXT")]

    builder: Annotated[str, _builder("--builder", help="A builder's name, or a daemon's address.", metavar="NAME")]
    registry_secret: Annotated[
        Texts, _builder("--registry-secret", help="Kubernetes secret with registry logins; repeatable.", metavar="NAME")
    ]
    auth_via: Annotated[AuthVia, _builder("--auth-via", help="Who asks registries for tokens: cluster or client.", metavar="WHO")]
    retries: Annotated[int, _builder("--retries", help="How often to begin again when a pod, link or registry fails.", metavar="N")]
    timeout: Annotated[str, _builder("--timeout", help="End a build that takes longer, for example 30m.", metavar="TIME")]
    context_key: Annotated[str, _builder("--context-key", help="Builds of one key meet in one pod; else the context's.", metavar="TEXT")]
    emulation: Annotated[Emulation, _builder("--emulation", help="Steps under QEMU: auto, never or always.", metavar="WHEN")]
    plan: Annotated[PlanFormat | None, _builder("--plan", help="Print which platform goes where and stop.", metavar="[=json]")]

    progress: Annotated[ProgressMode, _display("--progress", help="auto, none, plain, quiet, rawjson or tty.", metavar="MODE")]
    debug: Annotated[bool, _display("--debug", "-D", help="As -vv: warnings in full, phases as they end.")]
    verbose: Annotated[int, _display("--verbose", "-v", help="Tell all steps, and each phase's time; -vv tells more.", count=True)]
    quiet: Annotated[bool, _display("--quiet", "-q", help="Print only the image ID, on stdout.")]

    print_: Annotated[str, _old("--print")]
    memory: Annotated[str, _old("--memory", "-m")]
    memory_swap: Annotated[str, _old("--memory-swap")]
    cpu_shares: Annotated[str, _old("--cpu-shares", "-c")]
    cpu_period: Annotated[str, _old("--cpu-period")]
    cpu_quota: Annotated[str, _old("--cpu-quota")]
    cpuset_cpus: Annotated[str, _old("--cpuset-cpus")]
    cpuset_mems: Annotated[str, _old("--cpuset-mems")]
    compress: Annotated[bool | None, _old("--compress/--no-compress")]
    force_rm: Annotated[bool | None, _old("--force-rm/--no-force-rm")]
    isolation: Annotated[str, _old("--isolation")]
    rm: Annotated[bool | None, _old("--rm/--no-rm")]
    security_opt: Annotated[Texts, _old("--security-opt")]
    squash: Annotated[bool | None, _old("--squash/--no-squash")]

    @property
    def old_limits(self) -> list[str]:
        """The old flags of limits, as values of --resource."""
        names = ("memory", "memory_swap", "cpu_shares", "cpu_period", "cpu_quota", "cpuset_cpus", "cpuset_mems")
        return [f"{name.replace('_', '-')}={value}" for name in names if (value := getattr(self, name))]


_IGNORED = {
    "compress": "--compress-context decides",
    "force_rm": "steps leave no containers behind",
    "isolation": "BuildKit has no such choice",
    "rm": "steps leave no containers behind",
    "security_opt": 'BuildKit has "RUN --security=insecure" with --allow security.insecure instead',
    "squash": "a multi-stage Dockerfile has the same effect",
}

_DEFAULTS: dict[Any, Any] = {
    str: "",
    bool: False,
    int: DEFAULT_RETRIES,
    AuthVia: AuthVia.CLUSTER,
    CompressContext: CompressContext.AUTO,
    Emulation: Emulation.AUTO,
    ProgressMode: ProgressMode.AUTO,
}


def ignored_flags(flags: BuildFlags) -> list[str]:
    """A warning for each flag that was given and means nothing."""
    given = [name for name in _IGNORED if getattr(flags, name) not in (None, "", [])]
    return [f"--{name.replace('_', '-')} is ignored: {_IGNORED[name]}" for name in given]


def with_build_flags(command: Callable[..., int]) -> Callable[..., int]:
    """Give `command` the fields of BuildFlags as flags: its parameter `flags` receives a BuildFlags."""
    hints = get_type_hints(BuildFlags, include_extras=True)
    lists = {name for name, hint in hints.items() if hint.__origin__ == Texts}
    added = []
    for item in dataclasses.fields(BuildFlags):
        kind, option = hints[item.name].__origin__, hints[item.name].__metadata__[0]
        kind, default = (Texts | None, None) if kind == Texts else (kind, 0 if getattr(option, "count", False) else _DEFAULTS.get(kind))
        added.append(keyword(item.name, default, Annotated[kind, option]))

    def make(values: dict[str, Any]) -> BuildFlags:
        return BuildFlags(**values | {name: list(values[name] or ()) for name in lists})

    return with_parameters(command, "flags", added, make)


class GroupedCommand(TyperCommand):
    """A command whose help has its options in groups, each on a line of its own where the terminal is wide enough."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each group, in the order in which the groups first appear."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                sections.setdefault(getattr(param, "rich_help_panel", None) or "General", []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records, col_max=42)
