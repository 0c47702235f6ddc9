"""Addresses of daemons that run already, in BuildKit's own notation (pure).

The schemes are those of BUILDKIT_HOST and of buildx's remote driver; what that driver takes as options (cacert, cert, key, servername)
stands in the query here: moby/buildkit client/connhelper, docker/buildx driver/remote.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from kubectl_build.errors import UsageError
from kubectl_build.values import dataclass

_KNOWN: Final = "unix:///PATH, tcp://HOST:PORT or kube-pod://POD"
_ELSEWHERE: Final = {
    "docker-container": "publish its port and use tcp://HOST:PORT, or run it in the cluster and use kube-pod://POD",
    "podman-container": "publish its port and use tcp://HOST:PORT, or run it in the cluster and use kube-pod://POD",
    "nerdctl-container": "publish its port and use tcp://HOST:PORT, or run it in the cluster and use kube-pod://POD",
    "ssh": "forward its socket (ssh -N -L /tmp/buildkitd.sock:/run/buildkit/buildkitd.sock HOST) and use unix:///tmp/buildkitd.sock",
    "npipe": "let the daemon listen on TCP and use tcp://HOST:PORT",
}
_IDENTIFIER: Final = re.compile(r"[-a-z0-9.]+")
"""What BuildKit takes for a name of Kubernetes (client/connhelper/kubepod)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """TLS to a daemon. Without `ca` the system's authorities are trusted; `cert` and `key` are both there or both not."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnixAddress:
    """A socket of this machine."""

    path: str

    def __str__(self) -> str:
        return f"unix://{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpAddress:
    """A TCP port, plain without `tls`. `host` is a name or an address, IPv6 without brackets."""

    host: str
    port: int
    tls: TlsFiles | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KubePodAddress:
    """A pod in which `buildctl` is. What is empty is the default: the kubeconfig's context, its namespace, the pod's only container."""

    pod: str
    namespace: str = ""
    context: str = ""
    container: str = ""

    def __str__(self) -> str:
        return f"kube-pod://{self.pod}"


DaemonAddress = UnixAddress | TcpAddress | KubePodAddress


def parse_address(text: str) -> DaemonAddress | None:
    """Read a daemon's address; None for a plain name, which is a builder's. Raises UsageError for a URL that names no daemon we can reach.

    Files in a query are relative to the working directory.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        return None
    if scheme in _ELSEWHERE:
        raise UsageError(f'daemon address "{text}": {scheme}:// is not supported', hint=_ELSEWHERE[scheme])
    try:
        match scheme:
            case "unix":
                return _unix(rest)
            case "tcp":
                return _tcp(urlsplit(text))
            case "kube-pod":
                return _kube_pod(urlsplit(text))
    except ValueError as exc:
        raise UsageError(f'daemon address "{text}": {exc}') from exc
    raise UsageError(f'daemon address "{text}": unknown scheme {scheme}://', hint=f"use {_KNOWN}")


def _unix(path: str) -> UnixAddress:
    if not path:
        raise ValueError("it has no path")
    return UnixAddress(path=path)


def _tcp(url: SplitResult) -> TcpAddress:
    _refuse_rest(url)
    if not url.hostname:
        raise ValueError("it has no host")
    port = _port(url)
    options = _options(url, ("cacert", "cert", "key", "servername"))
    if ("cert" in options) != ("key" in options):
        raise ValueError("cert and key go together")
    return TcpAddress(host=url.hostname, port=port, tls=_tls(options) if options else None)


def _port(url: SplitResult) -> int:
    try:
        port = url.port
    except ValueError:
        raise ValueError("its port is not a number up to 65535") from None
    if not port:
        raise ValueError("it has no port")
    return port


def _tls(options: dict[str, str]) -> TlsFiles:
    files = {name: Path(options[name]) for name in ("cacert", "cert", "key") if name in options}
    return TlsFiles(ca=files.get("cacert"), cert=files.get("cert"), key=files.get("key"), server_name=options.get("servername", ""))


def _kube_pod(url: SplitResult) -> KubePodAddress:
    _refuse_rest(url)
    if not url.netloc:
        raise ValueError("it has no pod")
    options = _options(url, ("namespace", "context", "container"))
    for what, name in (("pod", url.netloc), ("namespace", options.get("namespace")), ("container", options.get("container"))):
        if name and not _IDENTIFIER.fullmatch(name):
            raise ValueError(f'"{name}" is not the name of a {what}')
    return KubePodAddress(pod=url.netloc, **options)


def _options(url: SplitResult, known: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in parse_qsl(url.query, keep_blank_values=True):
        if name not in known:
            raise ValueError(f'unknown option "{name}": it takes {", ".join(known)}')
        if name in found:
            raise ValueError(f'option "{name}" is given twice')
        if value:
            found[name] = value
    return found


def _refuse_rest(url: SplitResult) -> None:
    if url.path not in ("", "/") or url.fragment or "@" in url.netloc:
        raise ValueError("it may only have a host and options")
