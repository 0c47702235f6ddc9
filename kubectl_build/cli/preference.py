"""`use`: which builder somebody prefers, in one small file, by the kubeconfig's context and the namespace.

It is a preference, never a record of what exists: builders are in the cluster, and a preferred one that is not there is passed over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kubectl_build.builder.find import find_builder
from kubectl_build.builder.names import check_builder_name
from kubectl_build.cli.environment import DEFAULT_BUILDER
from kubectl_build.cli.files import write_result
from kubectl_build.cluster.client import KubeClient
from kubectl_build.errors import ConfigError, UsageError, system_words
from kubectl_build.model.events import Note, Sink
from kubectl_build.model.json import parse_json
from kubectl_build.model.request import BuildRequest

_EVERYWHERE = "*"
"""Stands for every namespace of a context; no namespace has such a name."""


def preference_file(environ: Mapping[str, str]) -> Path:
    """Where the preference is kept (XDG Base Directory: a relative path counts as none)."""
    base = environ.get("XDG_CONFIG_HOME", "")
    # Not Path.home(), which fails for an id without a name and a HOME, as in some containers.
    directory = base if os.path.isabs(base) else os.path.expanduser("~/.config")
    return Path(directory, "kubectl-build", "builders.json")


def preferred_builder(context: str, namespace: str, environ: Mapping[str, str]) -> str:
    """The builder preferred in `namespace` of the kubeconfig's `context`, "" for none. Raises ConfigError for a file that is malformed."""
    found = _read(preference_file(environ)).get(context, {})
    return found.get(namespace) or found.get(_EVERYWHERE, "")


def remember_builder(name: str, context: str, namespace: str, environ: Mapping[str, str]) -> Path:
    """Prefer builder `name` in `namespace` of `context`, or with an empty `namespace` wherever nothing else is preferred there.

    Returns the file. Raises UsageError for a name that no builder has or a file that cannot be written, ConfigError for a malformed file.
    """
    check_builder_name(name)
    file = preference_file(environ)
    document = _read(file)
    document.setdefault(context, {})[namespace or _EVERYWHERE] = name
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f'"{file.parent}" cannot be made: {system_words(error)}') from error
    write_result(file, json.dumps(document, indent=2, sort_keys=True) + "\n")
    return file


async def current_builder(said: str | None, kube: KubeClient, *, emit: Sink, environ: Mapping[str, str]) -> str:
    """The builder that a command is about: `said`, else BUILDX_BUILDER, else the preferred one, else the default.

    A preferred one that is not in the cluster is told and passed over. Raises ConfigError, ApiError.
    """
    name = said or environ.get("BUILDX_BUILDER")
    if name:
        return name
    preferred = preferred_builder(kube.context_name, kube.namespace, environ)
    if not preferred or preferred == DEFAULT_BUILDER:
        return DEFAULT_BUILDER
    if await find_builder(kube, preferred, emit=_ignore) is None:
        emit(
            Note(
                text=f'builder "{preferred}", which `kubectl buildkit use` prefers, is not in namespace "{kube.namespace}": '
                f'"{DEFAULT_BUILDER}" is used'
            )
        )
        return DEFAULT_BUILDER
    return preferred


async def with_preference(request: BuildRequest, kube: KubeClient | None, *, emit: Sink, environ: Mapping[str, str]) -> BuildRequest:
    """`request`, whose builder nobody has named, with the one that is preferred. Raises as `current_builder`."""
    if kube is None:
        return request
    return replace(request, builder=await current_builder(None, kube, emit=emit, environ=environ))


def _ignore(_event: object) -> None:
    """What this user may not read is told by what comes next, which looks at the builder too."""


def _read(file: Path) -> dict[str, dict[str, str]]:
    try:
        document: Any = parse_json(file.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigError(f'the preferred builders in "{file}" cannot be read: {system_words(error)}') from error
    except ValueError:
        document = None
    if not isinstance(document, dict) or not all(_is_names(value) for value in document.values()):
        raise ConfigError(f'the preferred builders in "{file}" are malformed', hint=f"remove the file: rm {file}")
    return document


def _is_names(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) for name in value.values())
