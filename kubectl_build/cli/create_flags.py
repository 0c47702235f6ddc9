"""The flags of `kubectl buildkit create`: the builder's own, named as in `builder.yaml`, and those of `docker buildx create`."""

from __future__ import annotations

import functools
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from kubectl_build.values import dataclass


class DryRun(StrEnum):
    """Values of --dry-run."""

    CLIENT = "client"
    SERVER = "server"


class CreateFormat(StrEnum):
    """Values of `create -o`."""

    YAML = "yaml"


def _flag(panel: str, *names: str, help: str = "", metavar: str | None = None, hidden: bool = False) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=panel, hidden=hidden, show_default=False)


_builder = functools.partial(_flag, "Builder")
_pods = functools.partial(_flag, "Pods")
_daemon = functools.partial(_flag, "Daemon")
_way = functools.partial(_flag, "Way of making it")
_buildx = functools.partial(_flag, "As docker buildx create has it")

Texts = list[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateFlags:
    """What was typed, not yet understood. None was not given."""

    platform: Annotated[Texts, _builder("--platform", help="Fix the pools: one for each architecture of these.", metavar="OS/ARCH")] = None
    image: Annotated[str | None, _builder("--image", help="The BuildKit image.", metavar="IMAGE")] = None
    replicas: Annotated[int | None, _builder("--replicas", help="Pods of each pool, at least one.", metavar="N")] = None
    security: Annotated[
        str | None, _builder("--security", help="Rights of the pods: auto, userns, rootless or privileged.", metavar="LEVEL")
    ] = None
    cache: Annotated[
        str | None,
        _builder("--cache", help="State: emptydir[,size=], memory,size= or pvc,size=[,class=][,keep=true].", metavar="VOLUME"),
    ] = None
    idle_timeout: Annotated[
        str | None, _builder("--idle-timeout", help="Stop the builder when it has built nothing for so long; 0 never.", metavar="TIME")
    ] = None

    requests: Annotated[Texts, _pods("--requests", help="What a pod is promised: cpu=1,memory=2Gi.", metavar="NAME=AMOUNT")] = None
    limits: Annotated[Texts, _pods("--limits", help="What a pod may take: cpu=4,memory=8Gi.", metavar="NAME=AMOUNT")] = None
    node_selector: Annotated[Texts, _pods("--node-selector", help="Labels of the nodes.", metavar="NAME=VALUE")] = None
    tolerations: Annotated[Texts, _pods("--tolerations", help="Taints that the pods bear.", metavar="KEY[=VALUE][:EFFECT]")] = None
    affinity: Annotated[Path | None, _pods("--affinity", help="YAML file with a pod's affinity.", metavar="FILE")] = None
    spread: Annotated[Texts, _pods("--spread", help="Spread a pool's pods over this node label.", metavar="LABEL[:hard]")] = None
    priority_class: Annotated[str | None, _pods("--priority-class", help="Priority class of the pods.", metavar="NAME")] = None
    service_account: Annotated[
        str | None, _pods("--service-account", help="Service account; its token is not mounted.", metavar="NAME")
    ] = None
    image_pull_secrets: Annotated[Texts, _pods("--image-pull-secrets", help="Secrets for pulling the BuildKit image.", metavar="NAME")] = (
        None
    )
    runtime_class: Annotated[str | None, _pods("--runtime-class", help="Runtime class of the pods.", metavar="NAME")] = None
    scheduler_name: Annotated[str | None, _pods("--scheduler-name", help="The scheduler of the pods.", metavar="NAME")] = None
    annotations: Annotated[Texts, _pods("--annotations", help="Annotations of sets and pods.", metavar="NAME=VALUE")] = None
    labels: Annotated[Texts, _pods("--labels", help="Labels of all objects.", metavar="NAME=VALUE")] = None
    host_network: Annotated[bool | None, _pods("--host-network/--no-host-network", help="The pods are in their node's network.")] = None
    grace_period: Annotated[
        str | None, _pods("--grace-period", help="How long a pod that is deleted may finish builds.", metavar="TIME")
    ] = None
    pod_template: Annotated[Path | None, _pods("--pod-template", help="YAML of a Pod, merged over the rendered one.", metavar="FILE")] = (
        None
    )

    env: Annotated[Texts, _daemon("--env", help="Environment of the daemon; NAME alone is the variable's value.", metavar="NAME=VALUE")] = (
        None
    )
    http_proxy: Annotated[str | None, _daemon("--http-proxy", help="Proxy of the daemon for http.", metavar="URL")] = None
    https_proxy: Annotated[str | None, _daemon("--https-proxy", help="Proxy of the daemon for https.", metavar="URL")] = None
    no_proxy: Annotated[str | None, _daemon("--no-proxy", help="Hosts that are reached without a proxy.", metavar="HOSTS")] = None
    registry: Annotated[
        Texts,
        _daemon("--registry", help="How a registry is reached; repeatable.", metavar="HOST[,ca=FILE][,mirror=HOST][,http][,insecure]"),
    ] = None
    allow: Annotated[
        Texts,
        _daemon(
            "--allow", "--allow-insecure-entitlement", help="What builds may ask for: network.host, security.insecure.", metavar="RIGHT"
        ),
    ] = None
    buildkitd_config: Annotated[
        Path | None,
        _daemon("--buildkitd-config", "--config", help="A buildkitd.toml; the CA files it names are read here.", metavar="FILE"),
    ] = None
    buildkitd_flags: Annotated[str | None, _daemon("--buildkitd-flags", help="Further flags of the daemon.", metavar="FLAGS")] = None
    qemu_install: Annotated[
        bool | None, _daemon("--qemu-install/--no-qemu-install", help="Register emulators in the kernel of the builder's nodes.")
    ] = None
    qemu_image: Annotated[str | None, _daemon("--qemu-image", help="The image that registers emulators.", metavar="IMAGE")] = None

    from_file: Annotated[
        str | None, _way("--from-file", "-f", help="Make what --dry-run -o yaml has printed; - is stdin.", metavar="FILE")
    ] = None
    reset: Annotated[
        Texts,
        _way("--reset", help="Take back to the defaults what an existing builder has: a name of builder.yaml, or all.", metavar="NAME"),
    ] = None
    bootstrap: Annotated[bool, _way("--bootstrap", help="Start the pods now and wait for them.")] = False
    use: Annotated[bool, _way("--use", help="Prefer this builder from now on.")] = False
    dry_run: Annotated[
        DryRun | None, _way("--dry-run", help="Print what would be applied and change nothing: client or server.", metavar="WHO")
    ] = None
    with_rbac: Annotated[bool, _way("--with-rbac", help="With --dry-run=client: print Roles for the builder's users too.")] = False
    output: Annotated[CreateFormat | None, _way("--output", "-o", help="With --dry-run: yaml.", metavar="FORMAT")] = None

    name: Annotated[str | None, _buildx("--name", help="Name of the builder.", metavar="NAME")] = None
    driver: Annotated[str | None, _buildx("--driver", help="Only kubernetes.", metavar="DRIVER")] = None
    driver_opt: Annotated[Texts, _buildx("--driver-opt", help="Options of buildx's kubernetes driver.", metavar="CSV")] = None
    append: Annotated[bool, _buildx("--append", hidden=True)] = False
    leave: Annotated[bool, _buildx("--leave", hidden=True)] = False
    node: Annotated[str | None, _buildx("--node", hidden=True)] = None
