"""What a build reads on the client's side or names elsewhere: contexts, the Dockerfile, secrets, ssh agents. Values only.

Files that the command line makes for a build (what came on stdin, a Dockerfile beside another ignore file) lie in a private temporary
directory that outlives the build and is removed by whoever made it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from kubectl_build.values import dataclass


@dataclass(frozen=True, slots=True)
class LocalContext:
    """A directory of this machine."""

    path: Path


@dataclass(frozen=True, slots=True)
class RemoteContext:
    """A git or http(s) URL, or for a named context also docker-image://REF: the daemon fetches it."""

    url: str


@dataclass(frozen=True, slots=True)
class ArchiveContext:
    """A tar archive in any compression, spooled to `file`. `id` is the digest of its bytes in hexadecimal: the same bytes are cached."""

    file: Path
    id: str


@dataclass(frozen=True, slots=True)
class LayoutContext:
    """An image in an OCI layout directory. `digest` is "sha256:..."; `id` is the name that the daemon knows the directory by."""

    path: Path
    digest: str
    id: str


Context = LocalContext | RemoteContext | ArchiveContext
NamedContext = LocalContext | RemoteContext | LayoutContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """Where the Dockerfile is.

    `name` is the file's name, or its path within a context that the daemon fetches. `directory` is the directory of this machine that has
    it, None when it is inside such a context. `separate` says that it comes from here although the context does not, or from a private
    directory: the frontend then looks for it (and its .dockerignore) there only. `url` is set for one that the daemon is to fetch first.
    `shown` is what the user calls it.
    """

    name: str = "Dockerfile"
    directory: Path | None = None
    separate: bool = False
    url: str = ""
    shown: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """One --secret: read anew at each request of the daemon, from `file` or from the environment variable `env`."""

    id: str
    file: Path | None = None
    env: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SshAgent:
    """One --ssh: an agent's socket, or private key files; empty `paths` is the agent of SSH_AUTH_SOCK."""

    id: str
    paths: tuple[Path, ...] = field(default=())


def local_directories(context: Context, dockerfile: Dockerfile, named: Mapping[str, NamedContext]) -> dict[str, Path]:
    """The directories that the daemon may read, by the names under which it asks for them (buildx, build/opt.go, loadInputs)."""
    found: dict[str, Path] = {}
    if isinstance(context, LocalContext):
        found["context"] = context.path
    if dockerfile.directory is not None:
        found["dockerfile"] = dockerfile.directory
    for name, value in named.items():
        if isinstance(value, LocalContext):
            found[local_name(name)] = value.path
    return found


def local_name(name: str) -> str:
    """What a named context that is a directory is called in the session: its name, but for the two that are taken."""
    return f"_{name}" if name in ("context", "dockerfile") else name
