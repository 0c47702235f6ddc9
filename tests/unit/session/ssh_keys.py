"""Keys and agents for the tests of ssh, by OpenSSH's own programs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def make_key(directory: Path, name: str, *options: str, passphrase: str = "") -> tuple[Path, bytes]:
    """Make a key pair; return the private key's file and the public key as agents list it."""
    if shutil.which("ssh-keygen") is None or shutil.which("ssh-agent") is None:
        pytest.skip("OpenSSH's client programs are missing")
    path = directory / name
    subprocess.run(
        ["ssh-keygen", "-q", "-N", passphrase, "-C", name, "-f", path, *(options or ("-t", "ed25519"))],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return path, public_blob(path)


def public_blob(private: Path) -> bytes:
    """The base64 word of a key's .pub file."""
    return private.with_name(f"{private.name}.pub").read_bytes().split()[1]


@contextmanager
def running_agent(socket: Path, *keys: Path) -> Iterator[Path]:
    """A user's ssh-agent with `keys`."""
    process = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"SSH_AUTH_SOCK")
        for key in keys:
            ssh_add(socket, str(key))
        yield socket
    finally:
        process.terminate()
        process.communicate(timeout=10)


def ssh_add(socket: Path, *arguments: str) -> str:
    """Run ssh-add against an agent and return what it printed, failed or not."""
    done = subprocess.run(
        ["ssh-add", *arguments], env={"SSH_AUTH_SOCK": str(socket)}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20
    )
    return done.stdout + done.stderr
