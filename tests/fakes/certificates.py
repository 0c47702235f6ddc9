"""Throw-away certificates, made with openssl."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Files of an authority, a server (127.0.0.1 and api.example) and a client (CN=jane)."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def client(self) -> tuple[Path, Path]:
        return self.folder / "client.crt", self.folder / "client.key"

    def server_context(self, *, ask_client: bool = False) -> ssl.SSLContext:
        """TLS for a server; with `ask_client` it accepts only certificates of the authority."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca)
        context.load_cert_chain(self.folder / "server.crt", self.folder / "server.key")
        if ask_client:
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def make_certificates(folder: Path) -> Certificates:
    """Make all of them in `folder`."""
    _openssl(folder, "req", "-x509", *_NEW, "-days", "2", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.crt")
    for name, subject, extensions in (
        ("server", "/CN=server", "subjectAltName=IP:127.0.0.1,DNS:api.example\n"),
        ("client", "/CN=jane", "extendedKeyUsage=clientAuth\n"),
    ):
        (folder / f"{name}.ext").write_text(extensions)
        _openssl(folder, "req", *_NEW, "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signing = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext")
        _openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.crt")
    return Certificates(folder=folder)


_NEW = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
