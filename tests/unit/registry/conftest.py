"""Certificates for the registries of these tests."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Certificates:
    """An authority as PEM, and a server's TLS context with its certificate for 127.0.0.1, localhost and registry.example."""

    ca_pem: str
    server: ssl.SSLContext


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing: no certificates can be made")
    folder = tmp_path_factory.mktemp("certificates")
    return Certificates(ca_pem=_authority(folder), server=_server(folder))


def _authority(folder: Path) -> str:
    _openssl(folder, "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca")
    return (folder / "ca.pem").read_text()


def _server(folder: Path) -> ssl.SSLContext:
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:registry.example")
    _openssl(folder, "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=server")
    _openssl(folder, "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile names")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context


def _openssl(folder: Path, arguments: str) -> None:
    subprocess.run(["openssl", *arguments.split()], cwd=folder, check=True, capture_output=True, timeout=30)
