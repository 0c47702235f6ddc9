"""Settings of the cluster's registries: passwords that docker-registry can check, certificates that clients can."""

from __future__ import annotations

import ctypes
import json
import subprocess
from pathlib import Path

import pytest

from tests.cluster import registries
from tests.cluster.registries import Kind

BINARY = Path("/nowhere/docker-registry")


def settings(directory: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((directory / "config.yml").read_text())
    return content


def test_password_file_has_a_bcrypt_hash_of_the_password(tmp_path: Path) -> None:
    registry = registries.prepare(Kind.AUTHENTICATED, tmp_path, "127.0.0.1:1", binary=BINARY, user="someone")

    user, hashed = (tmp_path / "htpasswd").read_text().strip().split(":")
    crypt = ctypes.CDLL("libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    assert (user, registry.user) == ("someone", "someone")
    assert hashed.startswith("$2b$")
    assert crypt(registry.password.encode(), hashed.encode()) == hashed.encode()


def test_second_preparation_keeps_password_and_certificate(tmp_path: Path) -> None:
    first = registries.prepare(Kind.AUTHENTICATED, tmp_path, "127.0.0.1:1", binary=BINARY)
    certificate = (tmp_path / "server.crt").read_bytes()

    second = registries.prepare(Kind.AUTHENTICATED, tmp_path, "127.0.0.1:1", binary=BINARY)

    assert second == first
    assert (tmp_path / "server.crt").read_bytes() == certificate
    assert (tmp_path / "password").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("host", ["10.77.0.1", "127.0.0.1"])
def test_certificate_is_for_its_host_and_loopback_and_signed_by_the_ca(tmp_path: Path, host: str) -> None:
    registry = registries.prepare(Kind.AUTHENTICATED, tmp_path, f"{host}:5443", binary=BINARY)

    for name in (host, "127.0.0.1"):
        command = ["openssl", "verify", "-CAfile", str(registry.ca), "-verify_ip", name, str(tmp_path / "server.crt")]
        assert subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0
    wrong = ["openssl", "verify", "-CAfile", str(registry.ca), "-verify_ip", "10.0.0.1", str(tmp_path / "server.crt")]
    assert subprocess.run(wrong, capture_output=True, check=False, timeout=30).returncode != 0


def test_mirror_serves_the_directory_it_is_given_and_takes_nothing(tmp_path: Path) -> None:
    registry = registries.prepare(Kind.MIRROR, tmp_path / "mirror", "127.0.0.1:1", binary=BINARY, storage=tmp_path / "images")

    assert settings(tmp_path / "mirror")["storage"] == {
        "filesystem": {"rootdirectory": str(tmp_path / "images")},
        "delete": {"enabled": False},
        "maintenance": {"uploadpurging": {"enabled": False}, "readonly": {"enabled": True}},
    }
    assert (registry.url, registry.password) == ("http://127.0.0.1:1", "")


def test_mirror_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a mirror serves a storage directory"):
        registries.prepare(Kind.MIRROR, tmp_path, "127.0.0.1:1", binary=BINARY)


def test_insecure_registry_asks_for_no_password(tmp_path: Path) -> None:
    registries.prepare(Kind.INSECURE, tmp_path, "127.0.0.1:1", binary=BINARY)

    assert "auth" not in settings(tmp_path)


def test_registry_that_does_not_listen_does_not_answer(tmp_path: Path) -> None:
    registry = registries.prepare(Kind.INSECURE, tmp_path, "127.0.0.1:1", binary=BINARY)

    assert not registry.answers()
