"""How the frontend is told where contexts and the Dockerfile are (pure).

Rules: docker/buildx v0.35.0 build/opt.go (loadInputs, processGitURL); moby/buildkit v0.31.2 frontend/dockerui (config.go, context.go,
namedcontext.go).
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping

from kubectl_build.model.inputs import (
    ArchiveContext,
    LayoutContext,
    LocalContext,
    NamedContext,
    RemoteContext,
    local_name,
)
from kubectl_build.model.request import BuildRequest
from kubectl_build.session.upload import upload_url

_CONTEXTS_CAP = "moby.buildkit.frontend.contexts+forward"
_GIT_QUERY_CAP = "moby.buildkit.frontend.gitquerystring"

_SCHEME = re.compile(r"([a-zA-Z0-9]+)://")
_GIT_SCHEMES = ("http", "https", "ssh", "git")
_SCP = re.compile(r"[\w-]+@[a-zA-Z0-9.-]+:[^?#]*(?:\?([^#]*))?(?:#.*)?", re.ASCII)
"""USER@HOST:PATH[?QUERY][#FRAGMENT] (moby/buildkit util/sshutil/scpurl.go)."""


def context_attrs(request: BuildRequest, shared_keys: Mapping[str, str]) -> dict[str, str]:
    """The attributes that name the context, the Dockerfile and the named contexts of `request`.

    A directory of this machine is found by its name in the session, so that only named ones are mentioned. `shared_keys` has, by a named
    context's name, under which key the daemon keeps a directory to compare the next one with; without one it is the session's.
    """
    attrs = {"filename": request.dockerfile.name}
    caps: set[str] = set()
    match request.context:
        case RemoteContext(url=url):
            attrs["context"] = url
            if _has_query(url):
                caps.add(_GIT_QUERY_CAP)
        case ArchiveContext(id=id):
            attrs["context"] = upload_url(id)
    if request.dockerfile.separate:
        attrs["dockerfilekey"] = "dockerfile"
    for name, context in request.named_contexts.items():
        caps.add(_CONTEXTS_CAP)
        attrs[f"context:{name}"] = _named(name, context)
        if isinstance(context, RemoteContext) and _has_query(context.url):
            caps.add(f"{_GIT_QUERY_CAP}+forward")
        if isinstance(context, LocalContext) and name in shared_keys:
            attrs[f"sharedkey:localdir:{name}"] = shared_keys[name]
    if caps:
        attrs["frontend.caps"] = ",".join(sorted(caps))
    return attrs


def _named(name: str, context: NamedContext) -> str:
    match context:
        case LocalContext():
            return f"local:{local_name(name)}"
        case LayoutContext(id=id, digest=digest):
            return f"oci-layout://{id}@{digest}"
        case RemoteContext(url=url):
            return url


def _has_query(url: str) -> bool:
    """Whether a frontend must know git's query form to read `url`. Any http URL with a query: a client cannot tell which is git."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        scp = _SCP.fullmatch(url)
        query = scp.group(1) if scp else ""
    elif scheme.group(1).lower() in _GIT_SCHEMES:
        query = url.partition("#")[0].partition("?")[2]
    else:
        query = ""
    return bool(urllib.parse.parse_qsl(query or "", keep_blank_values=True))
