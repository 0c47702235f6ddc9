"""The three registries of the local cluster as plain data: prepare a directory, get a command to start.

All are Debian's docker-registry. The mirror serves a storage directory of `tests.cluster.images` and takes nothing; the other two keep
what is pushed in their own directory. `run_registry` starts one for tests on any address.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import secrets
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tests.cluster.say import Trouble

_START_PATIENCE_S = 15.0
_STOP_PATIENCE_S = 5.0
_CERTIFICATE_DAYS = "3650"
_BCRYPT_COST = "05"  # a test registry checks the password at each request


class Kind(Enum):
    """What sort of registry."""

    AUTHENTICATED = "authenticated"
    """TLS by a CA of its own, and a password."""
    INSECURE = "insecure"
    """Plain HTTP, open to everybody."""
    MIRROR = "mirror"
    """Plain HTTP, open to everybody, read-only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """A registry that is ready to be started with `command`; nothing runs yet."""

    kind: Kind
    address: str
    """`host:port`, as in image names."""
    command: Sequence[str]
    storage: Path
    ca: Path | None = None
    """PEM file of the CA that signed its certificate; None for plain HTTP."""
    user: str = ""
    password: str = ""

    @property
    def url(self) -> str:
        return f"{'http' if self.ca is None else 'https'}://{self.address}"

    def answers(self) -> bool:
        """Whether the registry's API answers now, with its certificate and password checked. Takes at most a second."""
        request = urllib.request.Request(f"{self.url}/v2/")
        if self.user:
            request.add_header("Authorization", f"Basic {base64.b64encode(f'{self.user}:{self.password}'.encode()).decode()}")
        context = None if self.ca is None else ssl.create_default_context(cafile=str(self.ca))
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]  # never through the environment's proxy
        if context:
            handlers.append(urllib.request.HTTPSHandler(context=context))
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=1) as response:
                return bool(response.status == 200)
        except OSError:  # URLError and HTTPError are OSErrors too
            return False


def prepare(
    kind: Kind, directory: Path, address: str, *, binary: Path, storage: Path | None = None, user: str = "builder", password: str = ""
) -> Registry:
    """Write what a registry needs into `directory` (made when missing) and say how to start it.

    Certificates and passwords that are there are kept, so that a second call gives the same registry. `password` is made up when empty.
    `storage` is the directory with the images, `directory/storage` by default; a mirror must be given one. Raises Trouble when openssl
    fails.
    """
    if kind is Kind.MIRROR and storage is None:
        raise ValueError("a mirror serves a storage directory that is there already")
    directory.mkdir(parents=True, exist_ok=True)
    kept = storage or directory / "storage"
    kept.mkdir(parents=True, exist_ok=True)
    # The secret signs the state of uploads between registries behind one load balancer; here there is one, and a fixed text keeps the file.
    http: dict[str, object] = {"addr": address, "secret": "one registry, one process"}
    config: dict[str, object] = {"version": "0.1", "log": {"level": "info"}, "http": http}
    ca = None
    if kind is Kind.AUTHENTICATED:
        ca = _certify(directory, address.rpartition(":")[0])
        password = _password(directory, user, password)
        http["tls"] = {"certificate": str(directory / "server.crt"), "key": str(directory / "server.key")}
        config["auth"] = {"htpasswd": {"realm": "local test cluster", "path": str(directory / "htpasswd")}}
    config["storage"] = {
        "filesystem": {"rootdirectory": str(kept)},
        "delete": {"enabled": kind is not Kind.MIRROR},
        "maintenance": {"uploadpurging": {"enabled": False}, "readonly": {"enabled": kind is Kind.MIRROR}},
    }
    (directory / "config.yml").write_text(json.dumps(config, indent=2))  # JSON is YAML
    return Registry(
        kind=kind,
        address=address,
        command=(str(binary), "serve", str(directory / "config.yml")),
        storage=kept,
        ca=ca,
        user=user if kind is Kind.AUTHENTICATED else "",
        password=password if kind is Kind.AUTHENTICATED else "",
    )


@contextmanager
def run_registry(
    kind: Kind, directory: Path, address: str, *, binary: Path, storage: Path | None = None, user: str = "builder", password: str = ""
) -> Iterator[Registry]:
    """Run a registry until the block ends; its log with one line for each request is `directory/log`.

    Takes what `prepare` takes. Raises Trouble with the end of the log when it does not answer in time.
    """
    registry = prepare(kind, directory, address, binary=binary, storage=storage, user=user, password=password)
    log = directory / "log"
    with (
        log.open("ab") as output,
        subprocess.Popen(registry.command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        try:
            deadline = time.monotonic() + _START_PATIENCE_S
            while not registry.answers():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise Trouble(f"the registry at {address} does not answer; its log ends with:\n{log.read_text()[-1000:]}")
                time.sleep(0.02)
            yield registry
        finally:
            process.terminate()
            try:
                process.wait(_STOP_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _certify(directory: Path, host: str) -> Path:
    """Make a CA and a server certificate for the host and for 127.0.0.1, once; return the CA's file."""
    ca = directory / "ca.crt"
    if ca.exists() and (directory / "server.crt").exists():
        return ca
    names = ",".join(f"IP:{address}" for address in dict.fromkeys([host, "127.0.0.1"]))
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", _CERTIFICATE_DAYS]
    _openssl([*new, "-subj", "/CN=kubectl-build local registry CA", "-keyout", "ca.key", "-out", "ca.crt"], directory)
    signed = [*new, "-subj", f"/CN={host}", "-keyout", "server.key", "-out", "server.crt", "-CA", "ca.crt", "-CAkey", "ca.key"]
    for extension in (f"subjectAltName={names}", "extendedKeyUsage=serverAuth", "basicConstraints=critical,CA:false"):
        signed += ["-addext", extension]
    _openssl(signed, directory)
    return ca


def _openssl(command: Sequence[str], directory: Path) -> None:
    try:
        done = subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)
    except FileNotFoundError as exc:
        raise Trouble("openssl is missing: it makes the registry's certificate") from exc
    if done.returncode:
        raise Trouble(f"openssl {command[1]} failed: {done.stderr.strip()[-500:]}")


def _password(directory: Path, user: str, password: str) -> str:
    """Write the htpasswd file and return the password: the one given, else the one that was made up before, else a new one."""
    kept = directory / "password"
    if not password:
        password = kept.read_text() if kept.exists() else secrets.token_urlsafe(16)
    descriptor = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(password)
    (directory / "htpasswd").write_text(f"{user}:{_bcrypt(password)}\n")
    return password


def _bcrypt(password: str) -> str:
    """Hash a password as docker-registry wants it, with the C library's crypt: Python's own module for it is gone since 3.13."""
    alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    salt = "".join(secrets.choice(alphabet) for _ in range(21)) + "."  # 22 characters, of which the last has but two bits
    try:
        crypt = ctypes.CDLL("libcrypt.so.1").crypt
    except OSError as exc:
        raise Trouble("libcrypt.so.1 is missing: it hashes the registry's password (Debian's package is libcrypt1)") from exc
    crypt.restype = ctypes.c_char_p
    hashed: bytes | None = crypt(password.encode(), f"$2b${_BCRYPT_COST}${salt}".encode())
    if hashed is None or not hashed.startswith(b"$2b$"):
        raise Trouble("this machine's libcrypt knows no bcrypt, which the registry needs")
    return hashed.decode()
