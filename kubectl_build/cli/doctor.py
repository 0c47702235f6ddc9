"""`kubectl buildkit doctor`: what keeps a builder from building, and what to type."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

from kubectl_build.cli.environment import named_builder
from kubectl_build.cli.kubeflags import with_cluster_flags
from kubectl_build.model.kubeflags import KubeFlags


class DoctorFormat(StrEnum):
    """Values of -o."""

    JSON = "json"


@with_cluster_flags
def doctor(
    builder: Annotated[str, typer.Argument(metavar="[BUILDER]", help="Name of the builder, or a daemon's address.")] = "",
    image: Annotated[
        str, typer.Option("--image", help="Look at this image and its registry too. By default at those of the last build.")
    ] = "",
    registry_secret: Annotated[
        list[str] | None, typer.Option("--registry-secret", help="Kubernetes secret with logins, repeatable, as for a build.")
    ] = None,
    output: Annotated[DoctorFormat | None, typer.Option("--output", "-o", help="json: every finding.")] = None,
    *,
    kube_flags: KubeFlags,
) -> int:
    """Examine a builder and all that it needs: rights, nodes, pods, daemons, disks, clocks, registries.

    The exit code is 1 if something was found that prevents building.
    """
    from kubectl_build.cli.doctor_work import examine_builder

    name = named_builder(builder, os.environ)
    return examine_builder(name, kube_flags, image=image, secrets=tuple(registry_secret or ()), as_json=output is not None)
