"""TLS to the API server, as kubectl does it."""

from __future__ import annotations

import ssl
import tempfile
from dataclasses import field
from pathlib import Path

from kubectl_build.cluster.authentication import ClientCertificate
from kubectl_build.errors import ConfigError
from kubectl_build.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """Whom to trust. `ca` is PEM (None: the system's authorities); `server_name` replaces the URL's host in the check."""

    ca: bytes | None = field(default=None, repr=False)
    insecure: bool = False
    server_name: str | None = None


def ssl_context(settings: TlsSettings, certificate: ClientCertificate | None) -> ssl.SSLContext:
    """Build the context for one identity. Raises ConfigError for PEM that cannot be used."""
    try:
        ca = settings.ca.decode("ascii") if settings.ca is not None else None
        context = ssl.create_default_context(cadata=ca)
    except (ssl.SSLError, ValueError) as exc:
        raise ConfigError(f"the certificate authority of the cluster is not PEM that can be used: {exc}") from exc
    # Python 3.13 asks for extensions (RFC 5280 authority key identifiers) that many clusters' own authorities lack, and Go does not.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", ssl.VerifyFlags(0))
    if settings.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        _load(context, certificate)
    return context


def _load(context: ssl.SSLContext, certificate: ClientCertificate) -> None:
    # The ssl module takes keys from files only. mkdtemp's directory is this user's alone, and it is gone before we return.
    with tempfile.TemporaryDirectory(prefix="kubectl-build-") as folder:
        chain, key = Path(folder, "chain"), Path(folder, "key")
        chain.write_bytes(certificate.chain)
        key.touch(mode=0o600)
        key.write_bytes(certificate.key)
        try:
            context.load_cert_chain(chain, key, password=_no_password)
        except (ssl.SSLError, ValueError) as exc:
            raise ConfigError(f"the client certificate and key of the kubeconfig's user cannot be used together: {exc}") from exc


def _no_password() -> str:
    # Without this OpenSSL would ask on the terminal, in the middle of whatever goes on.
    raise ValueError("the key is encrypted, which kubeconfigs do not allow")
