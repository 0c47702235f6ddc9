"""Which contexts are addresses that the daemon fetches from (pure).

Rules: docker/buildx util/urlutil, BuildKit frontend/dockerfile/dfgitutil, util/gitutil/git_url.go and util/sshutil/scpurl.go.
"""

from __future__ import annotations

import re
import urllib.parse

_PROTOCOL = re.compile(r"([a-zA-Z0-9]+)://")
_SCP = re.compile(r"[a-zA-Z0-9_-]+@[a-zA-Z0-9.-]+:[^\n]*")


def is_http(text: str) -> bool:
    """Whether this is an http(s) URL. The scheme is in lower case."""
    return text.startswith(("http://", "https://"))


def is_remote(text: str) -> bool:
    """Whether this is an http(s) URL or names a git repository, also as USER@HOST:PATH or github.com/OWNER/NAME."""
    if is_http(text):
        return True
    if text.startswith(("./", "../")):
        return False
    if text.startswith("github.com/"):
        return True
    protocol = _PROTOCOL.match(text)
    if protocol is None:
        return _SCP.fullmatch(text) is not None
    scheme = protocol.group(1).lower()
    if scheme in ("http", "https"):
        return urllib.parse.urlsplit(text).path.endswith(".git")
    return scheme in ("ssh", "git")


def is_git_over_ssh(text: str) -> bool:
    """Whether this is a git repository that is reached over ssh, so that the daemon needs an agent."""
    protocol = _PROTOCOL.match(text)
    return _SCP.fullmatch(text) is not None if protocol is None else protocol.group(1).lower() == "ssh"


def is_address(text: str) -> bool:
    """Whether this looks like an address of whatever kind rather than a path."""
    return "://" in text or text.startswith("git@")
