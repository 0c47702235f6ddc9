"""Reading kubeconfig files and merging several, as client-go's clientcmd does (tools/clientcmd/loader.go)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from kubectl_build.errors import ConfigError
from kubectl_build.model.json import JsonObject
from kubectl_build.values import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """A named cluster, user or context. Relative paths in it are relative to `folder`."""

    value: JsonObject = field(repr=False)
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubeconfig:
    """Everything that the files say together. `paths` are those that were read, `missing` those that are not there."""

    current_context: str = ""
    clusters: Mapping[str, Entry] = field(default_factory=dict)
    users: Mapping[str, Entry] = field(default_factory=dict, repr=False)
    contexts: Mapping[str, Entry] = field(default_factory=dict)
    paths: tuple[Path, ...] = ()
    missing: tuple[Path, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing in the files could name a cluster."""
        return not (self.clusters or self.users or self.contexts or self.current_context)

    @property
    def where(self) -> str:
        """The files' names for a message."""
        return ", ".join(str(path) for path in self.paths + self.missing)


def load_kubeconfig(explicit: str | None, environ: Mapping[str, str]) -> Kubeconfig:
    """Read `explicit` (--kubeconfig; must be there), else the list in KUBECONFIG, else ~/.kube/config.

    The first file that names a cluster, a user, a context or the current context wins, whole. Raises ConfigError for files that cannot
    be read or make no sense; files of a list that are not there are skipped, as kubectl skips them.
    """
    found: list[tuple[Path, JsonObject]] = []
    missing: list[Path] = []
    for path in [Path(explicit)] if explicit else _default_paths(environ):
        try:
            found.append((path, _read(path)))
        except FileNotFoundError as exc:
            if explicit:
                raise ConfigError(f"the kubeconfig {path} does not exist", hint="check --kubeconfig") from exc
            missing.append(path)
    merged: dict[str, dict[str, Entry]] = {"clusters": {}, "users": {}, "contexts": {}}
    for path, document in found:
        for kind, entries in merged.items():
            for name, entry in _entries(path, document, kind).items():
                entries.setdefault(name, entry)
    return Kubeconfig(
        current_context=next((current for path, document in found if (current := _text(path, document, "current-context"))), ""),
        paths=tuple(path for path, _ in found),
        missing=tuple(missing),
        **merged,
    )


def _default_paths(environ: Mapping[str, str]) -> list[Path]:
    listed = [Path(item) for item in environ.get("KUBECONFIG", "").split(os.pathsep) if item]
    if listed:
        return list(dict.fromkeys(listed))
    home = environ.get("HOME") or environ.get("USERPROFILE")
    return [(Path(home) if home else Path.home()) / ".kube" / "config"]


def _read(path: Path) -> JsonObject:
    import yaml  # 20 ms that pods with a service account do not need

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        document = yaml.load(path.read_bytes(), Loader=loader)
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise ConfigError(f"cannot read the kubeconfig {path}: {exc.strerror or exc}") from exc
    except (yaml.YAMLError, ValueError) as exc:
        raise ConfigError(f"the kubeconfig {path} is not YAML: {_yaml_reason(exc)}") from exc
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"the kubeconfig {path} is not a kubeconfig: it holds no mapping")
    return document


def _yaml_reason(exc: Exception) -> str:
    problem, mark = getattr(exc, "problem", None), getattr(exc, "problem_mark", None)
    if problem and mark:
        # Not str(exc), which quotes the line, and a kubeconfig's lines may be secrets.
        return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
    return "it cannot be decoded"


def _entries(path: Path, document: JsonObject, kind: str) -> dict[str, Entry]:
    items = document.get(kind) or []
    singular = kind[:-1]
    if not isinstance(items, list):
        raise ConfigError(f"the kubeconfig {path} is malformed: {kind} is not a list")
    entries: dict[str, Entry] = {}
    for item in items:
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str):
            raise ConfigError(f"the kubeconfig {path} is malformed: {kind} has an entry without a name")
        value = item.get(singular) or {}
        if not isinstance(value, dict):
            raise ConfigError(f'the kubeconfig {path} is malformed: {singular} "{name}" is not a mapping')
        if name in entries:
            raise ConfigError(f'the kubeconfig {path} is malformed: it has two entries named "{name}" in {kind}')
        entries[name] = Entry(value, path.absolute().parent)
    return entries


def _text(path: Path, document: JsonObject, key: str) -> str:
    value = document.get(key) or ""
    if not isinstance(value, str):
        raise ConfigError(f"the kubeconfig {path} is malformed: {key} is not a string")
    return value
