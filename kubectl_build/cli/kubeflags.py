"""kubectl's connection flags, the same on every command.

typer reads a command's parameters from its signature; the decorator here adds the flags to it, so that commands take one value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from kubectl_build.cli.flagged import keyword, with_parameters
from kubectl_build.model.kubeflags import KubeFlags

_PANEL = "Cluster"


def _option(kind: Any, *names: str, help: str) -> Any:
    return Annotated[kind, typer.Option(*names, help=help, rich_help_panel=_PANEL)]


_FLAGS: dict[str, tuple[Any, Any]] = {
    "kubeconfig": (_option(str | None, "--kubeconfig", help="Path of the kubeconfig."), None),
    "context": (_option(str | None, "--context", help="Context of the kubeconfig."), None),
    "namespace": (_option(str | None, "--namespace", "-n", help="Namespace of the builder and of the secrets."), None),
    "cluster": (_option(str | None, "--cluster", help="Cluster of the kubeconfig."), None),
    "user": (_option(str | None, "--user", help="User of the kubeconfig."), None),
    "server": (_option(str | None, "--server", "-s", help="Address of the API server."), None),
    "token": (_option(str | None, "--token", help="Bearer token for the API server."), None),
    "username": (_option(str | None, "--username", help="Name for basic authentication to the API server."), None),
    "password": (_option(str | None, "--password", help="Password for basic authentication to the API server."), None),
    "as_user": (_option(str | None, "--as", help="User to impersonate."), None),
    "as_groups": (_option(list[str] | None, "--as-group", help="Group to impersonate, repeatable."), None),
    "as_uid": (_option(str | None, "--as-uid", help="UID to impersonate."), None),
    "certificate_authority": (_option(str | None, "--certificate-authority", help="CA file of the API server."), None),
    "client_certificate": (_option(str | None, "--client-certificate", help="Client certificate file."), None),
    "client_key": (_option(str | None, "--client-key", help="Client key file."), None),
    "insecure_skip_tls_verify": (_option(bool, "--insecure-skip-tls-verify", help="Do not check the API server's certificate."), False),
    "tls_server_name": (_option(str | None, "--tls-server-name", help="Name to check the API server's certificate for."), None),
    "request_timeout": (_option(str | None, "--request-timeout", help="Time for one API request, for example 30s; 0 is none."), None),
}


def with_cluster_flags(command: Callable[..., int]) -> Callable[..., int]:
    """Give `command` kubectl's flags: its parameter `kube_flags` receives a KubeFlags."""
    added = [keyword(name, default, kind) for name, (kind, default) in _FLAGS.items()]
    return with_parameters(command, "kube_flags", added, _kube_flags)


def _kube_flags(values: dict[str, Any]) -> KubeFlags:
    return KubeFlags(**{**values, "as_groups": tuple(values.get("as_groups") or ())})
