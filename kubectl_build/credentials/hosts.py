"""Which entry of a login file is for which registry.

Keys are host, host:port or a URL, with or without a path, as docker (cli/config/credentials/file_store.go) and the kubelet
(k8s.io/kubernetes pkg/credentialprovider/keyring.go) read them: `*` in a host stands for one label or a part of it, ports must be equal,
/v1/ and /v2/ at the start of a path mean nothing, any other path is the start of a repository's name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TypeVar

from kubectl_build.values import dataclass

_T = TypeVar("_T")

HUB = "docker.io"
_HUB_HOSTS = frozenset({HUB, "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})
_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_PORT = re.compile(r":(\d*)$")


@dataclass(frozen=True, slots=True)
class HostKey:
    """A key, taken apart: `host` in lower case with its port and maybe wildcards, `path` "" or with a slash in front."""

    host: str
    path: str = ""


def parse_key(text: str) -> HostKey:
    """Take a key apart. All spellings of Docker Hub become docker.io."""
    scheme = _SCHEME.match(text)
    host, slash, path = text[scheme.end() if scheme else 0 :].partition("/")
    path = slash + path
    if path.startswith(("/v1/", "/v2/")) or path in ("/v1", "/v2"):
        path = path[3:]
    return HostKey(canonical_host(host), path.rstrip("/"))


def canonical_host(host: str) -> str:
    """`host` in lower case, or docker.io for all that Docker Hub is called."""
    host = host.lower()
    return HUB if host in _HUB_HOSTS else host


def find_entry(entries: Mapping[HostKey, _T], host: str, repository: str = "") -> _T | None:
    """Return the entry for a repository of `host`.

    The order is the kubelet's, so the longest path comes first and a full name before a wildcard. When no key's path fits (BuildKit asks
    for a host alone) the path does not count, as it never does for docker.
    """
    host = canonical_host(host)
    path = f"/{repository}" if repository else ""
    on_host = [key for key in sorted(entries, key=lambda key: (key.host, key.path), reverse=True) if _same_host(key.host, host)]
    for key in on_host:
        if path.startswith(key.path):
            return entries[key]
    return entries[on_host[0]] if on_host else None


def _same_host(pattern: str, host: str) -> bool:
    if pattern == host:
        return True
    hosts = _HUB_HOSTS if host == HUB else {host}
    return any(_matches(pattern, name) for name in hosts)


def _matches(pattern: str, host: str) -> bool:
    """Compare label by label, as the kubelet's URLsMatch; a label never spans a dot."""
    pattern_labels, pattern_port = _split(pattern)
    labels, port = _split(host)
    return (
        pattern_port == port
        and len(pattern_labels) == len(labels)
        # Go negates a class with ^, Python with !.
        and all(fnmatchcase(label, glob.replace("[^", "[!")) for glob, label in zip(pattern_labels, labels, strict=True))
    )


def _split(host: str) -> tuple[list[str], str]:
    port = _PORT.search(host)
    return host[: port.start() if port else None].split("."), port.group(1) if port else ""
