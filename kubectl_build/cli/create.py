"""`kubectl buildkit create`, in our own words and in those of `docker buildx create`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from kubectl_build.cli.create_flags import CreateFlags, DryRun
from kubectl_build.cli.environment import DEFAULT_BUILDER
from kubectl_build.cli.flagged import with_flags
from kubectl_build.cli.kubeflags import with_cluster_flags
from kubectl_build.errors import UsageError
from kubectl_build.model.kubeflags import KubeFlags


@with_cluster_flags
@with_flags(CreateFlags)
def create(
    builder: Annotated[str | None, typer.Argument(metavar="NAME", help=f'Name of the builder, "{DEFAULT_BUILDER}" by default.')] = None,
    *,
    flags: CreateFlags,
    kube_flags: KubeFlags,
) -> int:
    """Create a builder, or change one."""
    from kubectl_build.builder.documents import load_builder
    from kubectl_build.cli.create_change import names_in, spec_change, with_driver_opts
    from kubectl_build.cli.creating import Creation, create_builders_objects
    from kubectl_build.cli.driver_opts import parse_driver_opts

    _refuse_other_drivers(flags)
    if flags.output is not None and flags.dry_run is None:
        raise UsageError("-o is for --dry-run=client and --dry-run=server", hint="to see a builder: kubectl buildkit inspect NAME -o yaml")
    if flags.with_rbac and flags.dry_run is not DryRun.CLIENT:
        raise UsageError("--with-rbac is for --dry-run=client: Roles are printed, and applied by an admin")
    if flags.reset and flags.from_file is not None:
        raise UsageError("--reset is for what a builder has, and --from-file replaces all of that", hint="leave one of them out")
    options = parse_driver_opts(flags.driver_opt or ())
    file = load_builder(flags.from_file) if flags.from_file is not None else None
    creation = Creation(
        name=_one("name", {"NAME": builder, "--name": flags.name}) or (file.name if file else DEFAULT_BUILDER),
        change=with_driver_opts(spec_change(flags), options.change),
        file=file,
        reset=names_in("--reset", flags.reset),
        bootstrap=flags.bootstrap,
        use=flags.use,
        with_rbac=flags.with_rbac,
        ready_timeout=options.ready_timeout,
    )
    namespaces = {
        "--namespace": kube_flags.namespace,
        "--driver-opt namespace": options.namespace,
        "--from-file": file.namespace if file else "",
    }
    namespace = _one("namespace", namespaces)
    cluster = replace(kube_flags, namespace=namespace)
    return create_builders_objects(creation, cluster, dry_run=flags.dry_run)


def _one(what: str, said: dict[str, str | None]) -> str | None:
    """The value that was said, perhaps in two ways."""
    given = {way: value for way, value in said.items() if value}
    if len(set(given.values())) > 1:
        words = " and ".join(f'"{value}" ({way})' for way, value in given.items())
        raise UsageError(f"the builder's {what} is said twice, and differently: {words}")
    return next(iter(given.values()), None)


def _refuse_other_drivers(flags: CreateFlags) -> None:
    """What of buildx has no place here, each in one sentence."""
    if flags.driver not in (None, "", "kubernetes"):
        raise UsageError(f'driver "{flags.driver}" is not possible: builders here are pods in a cluster', hint="leave --driver out")
    if flags.append or flags.leave:
        name = "--append" if flags.append else "--leave"
        raise UsageError(
            f"{name} is not possible: a builder here has no list of nodes, but a pool of pods for each architecture",
            hint="name what it is for with --platform; the pods of each pool with --replicas",
        )
    if flags.node is not None:
        raise UsageError(
            f'--node "{flags.node}" is not possible: pools are named after the builder and their architecture',
            hint="to choose among the cluster's nodes: --node-selector",
        )
