"""What git says about a context: attributes for provenance, and labels where they are asked for.

Rules: docker/buildx build/git.go and util/gitutil. No process is started for a directory that is in no work tree.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path

from kubectl_build.deadlines import deadlines
from kubectl_build.model.gobool import parse_bool
from kubectl_build.values import dataclass

"""How long one call of git may take. They read a few small files; only BUILDX_GIT_CHECK_DIRTY looks at the whole tree."""

# fmt: off
_ENVIRONMENT = (
    "PATH", "HOME", "XDG_CONFIG_HOME", "USERPROFILE", "HOMEDRIVE", "HOMEPATH", "SYSTEMROOT", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM",
)
# fmt: on


@dataclass(frozen=True, slots=True, kw_only=True)
class VcsInfo:
    """`attrs` are the rest of `vcs:...` attributes; `labels` are labels of the image."""

    attrs: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


class _GitFailed(Exception):
    """What git said, or why it could not be asked."""


def vcs_info(
    context: Path, dockerfile: str | None, directories: Mapping[str, Path], environ: Mapping[str, str], warn: Callable[[str], None]
) -> VcsInfo:
    """Ask git about the directory `context`. Blocking.

    `dockerfile` is the value of --file, `directories` are those that the daemon may read, by their names in the session. Never raises: what
    cannot be found out is left out, with a warning when there is a work tree.
    """
    with_labels = environ.get("BUILDX_GIT_LABELS", "") == "full" or parse_bool(environ.get("BUILDX_GIT_LABELS", "")) is True
    with_info = parse_bool(environ.get("BUILDX_GIT_INFO", "")) is not False
    directory = Path(os.path.abspath(context))
    if not (with_labels or with_info) or not any((parent / ".git").exists() for parent in (directory, *directory.parents)):
        return VcsInfo()
    try:
        revision, source, root = _ask(directory, environ)
    except _GitFailed as error:
        warn(f"current commit information was not captured by the build: {error}")
        return VcsInfo()
    attrs = {"revision": revision, "source": source} if with_info else {}
    if with_info:
        attrs |= {f"localdir:{name}": place for name, path in directories.items() if (place := _inside(root, os.path.realpath(path)))}
    labels: dict[str, str] = {}
    if with_labels:
        entrypoint = os.path.abspath(dockerfile or directory / "Dockerfile")
        labels = {
            "org.opencontainers.image.revision": revision,
            "org.opencontainers.image.source": source,
            "com.docker.image.source.entrypoint": _inside(root, entrypoint),
        }
    return VcsInfo(attrs=_without_empty(attrs), labels=_without_empty(labels))


def _without_empty(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _inside(root: str, path: str) -> str:
    """The path from the top of the work tree, "" when it is not below it."""
    try:
        relative = os.path.relpath(path, root)
    except ValueError:  # another drive of Windows
        return ""
    return "" if relative.startswith("..") else relative


def _ask(directory: Path, environ: Mapping[str, str]) -> tuple[str, str, str]:
    """Return the commit, the address of the remote and the top of the work tree; the first two are "" where there is none."""
    program = shutil.which("git", path=environ.get("PATH"))
    if program is None:
        raise _GitFailed("git was not found in the system")
    env = {name: environ[name] for name in _ENVIRONMENT if name in environ} | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}

    def git(*args: str) -> tuple[int, str, str]:
        command = [program, "-c", "log.showSignature=false", *args]
        try:
            run = subprocess.run(
                command, cwd=directory, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=deadlines().program, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise _GitFailed(f"git {args[0]} took longer than {deadlines().program:g} s") from error
        except OSError as error:
            raise _GitFailed(f"git cannot be run: {error.strerror}") from error
        return run.returncode, os.fsdecode(run.stdout).strip("\n"), os.fsdecode(run.stderr).strip()

    code, out, said = git("rev-parse", "--is-inside-work-tree", "--show-toplevel")
    inside, _, root = out.partition("\n")
    if code or inside != "true":
        raise _GitFailed(said.splitlines()[0] if said else "the directory is not in a work tree")
    _, heads, _ = git("rev-parse", "--quiet", "--verify", "HEAD")
    revision = heads.partition("\n")[0]
    if revision and parse_bool(environ.get("BUILDX_GIT_CHECK_DIRTY", "")):
        code, changes, _ = git("status", "--porcelain", "--ignored")
        revision += "-dirty" if changes or code else ""
    return revision, _remote(git), root


def _remote(git: Callable[..., tuple[int, str, str]]) -> str:
    """The address of the remote that the current branch follows, else of origin, else of upstream; without login and password."""
    names = ["origin", "upstream"]
    code, branch, _ = git("symbolic-ref", "-q", "HEAD")
    if not code and branch:
        _, followed, _ = git("for-each-ref", "--format=%(upstream:remotename)", branch)
        names = [name for name in (followed.partition("\n")[0], *names) if name]
    for name in dict.fromkeys(names):
        code, url, _ = git("remote", "get-url", name)
        if not code and url:
            return _redacted(url.partition("\n")[0])
    return ""


def _redacted(url: str) -> str:
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return url
    login, at, host = parts.netloc.rpartition("@")
    if not parts.scheme or not at or not login:
        return url
    return urllib.parse.urlunsplit(parts._replace(netloc=f"{'xxxxx:xxxxx' if ':' in login else 'xxxxx'}@{host}"))
