"""`kubectl buildkit use`, `stop`, `rm` and `gc`: builders that several people share."""

from __future__ import annotations

from typing import Annotated

import typer

from kubectl_build.cli.kubeflags import with_cluster_flags
from kubectl_build.model.kubeflags import KubeFlags

Force = Annotated[bool, typer.Option("--force", "-f", help="Do not wait for running builds: they end.")]
Timeout = Annotated[
    str | None,
    typer.Option("--timeout", help="How long to wait for running builds, then for the pods: 30s, 2m, 1h; 0 does not wait for builds."),
]


@with_cluster_flags
def use(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the builder.")],
    default: Annotated[bool, typer.Option("--default", help="In every namespace of the context that has no choice of its own.")] = False,
    global_: Annotated[bool, typer.Option("--global", hidden=True, help="As in buildx; a choice is always of a context.")] = False,
    *,
    kube_flags: KubeFlags,
) -> int:
    """Choose the builder that is used where none is named, for this context and namespace.

    --builder and BUILDX_BUILDER go over it. It is a preference, kept in one file: builders themselves are in the cluster.
    """
    from kubectl_build.cli import sharing_work

    return sharing_work.use(name, kube_flags, everywhere=default)


@with_cluster_flags
def stop(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Name of the builder.")] = None,
    force: Force = False,
    timeout: Timeout = None,
    *,
    kube_flags: KubeFlags,
) -> int:
    """Stop a builder: its pods end when they have built, and the next build starts it again. Persistent volumes stay."""
    from kubectl_build.cli import sharing_work

    return sharing_work.stop(name, kube_flags, force=force, seconds=sharing_work.seconds(timeout))


@with_cluster_flags
def rm(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of the builders.")],
    ignore_not_found: Annotated[bool, typer.Option("--ignore-not-found", help="An unknown name is no error.")] = False,
    force: Force = False,
    timeout: Timeout = None,
    *,
    kube_flags: KubeFlags,
) -> int:
    """Remove builders: every object of theirs, and nothing else. Waits for their builds, and until their pods are gone."""
    from kubectl_build.cli import sharing_work

    return sharing_work.remove(
        tuple(names), kube_flags, ignore_not_found=ignore_not_found, force=force, seconds=sharing_work.seconds(timeout)
    )


@with_cluster_flags
def gc(
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Builders of every namespace.")] = False,
    *,
    kube_flags: KubeFlags,
) -> int:
    """Stop what nobody has used for its builder's --idle-timeout, and delete the Leases of clients that are gone."""
    from kubectl_build.cli import sharing_work

    return sharing_work.collect(kube_flags, all_namespaces=all_namespaces)
