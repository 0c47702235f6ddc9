"""Under which name the daemon keeps a context, to compare the next one with.

A context key names the tree wherever it lies: the git remote and the place in the repository; without a remote, the set of names in the
directory. (A directory's own name would do as well, but a copy under another name would then be sent whole.) Two trees that share a key are
no danger, only slower: the daemon takes from the one before what has equal path, size and time, and asks for the rest.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from kubectl_build.errors import UsageError
from kubectl_build.fsutil.filter import Filter
from kubectl_build.fsutil.patterns import Matched
from kubectl_build.fsutil.walk import BY_DESCRIPTOR, DIRECTORY
from kubectl_build.model.inputs import LocalContext, NamedContext

_OLD_NS: Final = 631_152_000 * 10**9  # 1990-01-01: older times come from archives and build tools, not from editing
_MACHINE_ID_FILES: Final = ("/etc/machine-id", "/var/lib/dbus/machine-id")


def context_key(path: str | Path) -> str:
    """Return the name of the context directory `path`: 32 hexadecimal digits, the same on every machine and for every copy.

    Blocking, but short. A directory that cannot be read has the key of its own name; sending it will say what is wrong.
    """
    directory = os.path.realpath(path)
    found = _git_identity(directory)
    if found is None:
        try:
            names = sorted(name for name in os.listdir(directory) if not name.startswith("."))
        except OSError:
            names = []
        found = "\0".join(["names", *names]) if names else f"name\0{os.path.basename(directory)}"
    return _digest(found)


def session_shared_key(path: str | Path, environ: Mapping[str, str]) -> str:
    """Return the shared key of a session whose context is `path`.

    It is the context key with this machine's id, or without one in CI, where the next run is on another machine. Where times of the tree
    tell nothing it also has a digest of the files concerned. Blocking: it reads all times, and those files' contents; call it in a thread,
    once for a build.
    """
    parts = [context_key(path)]
    if environ.get("CI", "").lower() in ("", "0", "false"):
        parts.append(_digest("machine\0" + _machine_id()))
    if contents := _timeless_contents(os.path.realpath(path)):
        parts.append(contents)
    return _digest("\0".join(parts))


def named_shared_keys(contexts: Mapping[str, NamedContext], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the shared key of each of the named `contexts` that is a directory, by its name. Blocking, as `session_shared_key`."""
    return {name: session_shared_key(context.path, environ) for name, context in contexts.items() if isinstance(context, LocalContext)}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _machine_id() -> str:
    for name in _MACHINE_ID_FILES:
        try:
            found = Path(name).read_text().strip()
        except OSError:
            continue
        if found:
            return found
    return f"{platform.node()} {uuid.getnode():x}"


def _git_identity(directory: str) -> str | None:
    """Return remote and place of a directory in a git work tree, None for one that is in none or has no remote."""
    for top in (Path(directory), *Path(directory).parents):
        config = _git_config(top / ".git")
        if config is None:
            continue
        remote = _remote_url(config)
        return f"git\0{remote}\0{os.path.relpath(directory, top)}" if remote else None
    return None


def _git_config(git: Path) -> Path | None:
    """Return the configuration behind a `.git`, which in linked work trees and submodules is a file that names a directory."""
    if git.is_dir():
        return git / "config"
    try:
        link = re.match(r"gitdir: (.+)", git.read_text())
    except OSError:
        return None
    if link is None:
        return None
    directory = git.parent / link.group(1).strip()
    with suppress(OSError):
        directory = directory / (directory / "commondir").read_text().strip()
    return directory / "config"


def _remote_url(config: Path) -> str | None:
    """Return the URL of the remote "origin", else of the first one, without the login that may stand in it."""
    import configparser  # not every context is in a repository

    parser = configparser.RawConfigParser(strict=False, allow_no_value=True, delimiters=("=",), comment_prefixes=("#", ";"))
    try:
        text = config.read_text(encoding="utf-8", errors="surrogateescape")
        parser.read_string(re.sub(r"(?m)^[ \t]+", "", text))  # git indents keys, which configparser takes for continued values
    except (OSError, configparser.Error):
        return None
    remotes: dict[str, str] = {}
    for section in parser.sections():
        if section.startswith('remote "') and (url := parser.get(section, "url", fallback=None)):
            remotes[section] = url
    chosen = remotes.get('remote "origin"') or next(iter(remotes.values()), None)
    return re.sub(r"^([a-z+]+://)[^/@]*@", r"\1", chosen) if chosen else None


def _timeless_contents(root: str) -> str:
    """Return a digest of the files whose times tell nothing, "" when there is none.

    These are files from before 1990, and any that share one time with more than a tenth of all files.
    """
    try:
        timeless = _timeless(root, _ignored(root))
    except UsageError:  # a pattern that cannot be used, which the walk will tell
        timeless = _timeless(root, Filter())
    if not timeless:
        return ""
    digest = hashlib.sha256()
    for path in timeless:
        digest.update(os.fsencode(path) + b"\0")
        try:
            with open(os.path.join(root, path), "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError:
            continue  # sending it will say so, unless it is not sent
    return digest.hexdigest()


def _timeless(root: str, selected: Filter) -> list[str]:
    """Return the paths of those files. Few trees have any, so that paths are made only where times say so."""
    times: Counter[int] = Counter()
    for _, statuses in _files(root, selected):
        times.update([status.st_mtime_ns for _, status in statuses])
    total = times.total()
    common = {time for time, count in times.items() if count > 1 and count * 10 > total}
    if not common and min(times, default=_OLD_NS) >= _OLD_NS:
        return []
    return sorted(
        directory + name
        for directory, statuses in _files(root, selected)
        for name, status in statuses
        if status.st_mtime_ns < _OLD_NS or status.st_mtime_ns in common
    )


def _ignored(root: str) -> Filter:
    """Return a filter of the directory's .dockerignore, which keeps large trees that are not sent from being read."""
    try:
        lines = Path(root, ".dockerignore").read_text(encoding="utf-8", errors="surrogateescape").removeprefix("\ufeff").splitlines()
    except OSError:
        return Filter()
    patterns = [re.sub(r"^(!?)\s*/+", r"\1", line.strip()) for line in lines if not line.startswith("#")]
    try:
        return Filter(exclude=[pattern for pattern in patterns if pattern not in ("", "!", ".")])
    except UsageError:
        return Filter()  # the daemon will refuse the file


def _files(root: str, selected: Filter) -> Iterator[tuple[str, list[tuple[str, os.stat_result]]]]:
    """Yield each directory (with a slash, or empty), with the regular files in it that are selected."""
    decide, everything = selected.decide, selected.open
    send = descend = True
    pending: list[tuple[str, Matched, Matched]] = [("", (), ())]
    while pending:
        directory, include, exclude = pending.pop()
        below_include, below_exclude = include, exclude
        found: list[tuple[str, os.stat_result]] = []
        with suppress(OSError), _listed(root, directory) as entries:
            for entry in entries:
                name = entry.name
                if not everything:
                    send, descend, below_include, below_exclude = decide(directory + name, include, exclude)
                if entry.is_dir(follow_symlinks=False):
                    if descend:
                        pending.append((f"{directory}{name}/", below_include, below_exclude))
                elif send and entry.is_file(follow_symlinks=False):
                    found.append((name, entry.stat(follow_symlinks=False)))
        yield directory, found


@contextmanager
def _listed(root: str, directory: str) -> Iterator[Iterator[os.DirEntry[str]]]:
    """List a directory; through a descriptor, where there is that, what is in it is found sooner."""
    path = os.path.join(root, directory)
    descriptor = os.open(path, DIRECTORY) if BY_DESCRIPTOR else None
    try:
        with os.scandir(path if descriptor is None else descriptor) as entries:
            yield entries
    finally:
        if descriptor is not None:
            os.close(descriptor)
