"""kubectl's connection flags, as they come from the command line."""

from __future__ import annotations

from dataclasses import field

from kubectl_build.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeFlags:
    """kubectl's connection flags as typed; None or empty is not given. File names are relative to the working directory."""

    kubeconfig: str | None = None
    context: str | None = None
    cluster: str | None = None
    user: str | None = None
    namespace: str | None = None
    server: str | None = None
    token: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    as_user: str | None = None
    as_groups: tuple[str, ...] = ()
    as_uid: str | None = None
    certificate_authority: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    insecure_skip_tls_verify: bool = False
    tls_server_name: str | None = None
    request_timeout: str | None = None
