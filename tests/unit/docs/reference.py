"""docs/cli.md, as the program's own commands describe themselves. `python -m tests.unit.docs.reference` writes it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import typer

from tests.unit.docs.pages import DOCS

PAGE = DOCS / "cli.md"

_HEAD = """\
# Commands and flags

Written by `make docs` from what `--help` says. `kubectl build` and `kubectl buildkit build` are the same command. Flags without a value
take `=true` and `=false`. What `--output`, `--cache-to`, `--secret` and so on may say is as in `docker buildx build`; what differs is in
[buildx.md](buildx.md).

"""

_TAIL = """\
## Cluster flags

Every command that speaks to a cluster has kubectl's own flags:

{cluster}

## Exit codes

| code | when |
| --- | --- |
| 0 | done |
| 1 | the build failed: a step, the frontend, a Dockerfile error, a context that changed while it was sent; `doctor` has found a problem |
| 2 | usage: a flag, a reference, a platform, a path that is not there or cannot be read, a request that cannot be met |
| 3 | configuration: kubeconfig, docker config, defaults, a named Kubernetes secret |
| 4 | cluster: the API server, a namespace, a right that is missing, a builder that is unknown or cannot be started |
| 5 | a connection or a pod was lost, and trying again did not help |
| 6 | a registry refused or could not be reached |
| 124 | `--timeout` was over |
| 129, 130, 143 | ended by SIGHUP, SIGINT (Ctrl-C), SIGTERM |
| 141 | whoever read the output is gone |

`--call` and `--check` exit with the frontend's own status.

## Environment

| variable | effect |
| --- | --- |
| `KUBECONFIG`, `HTTPS_PROXY`, `NO_PROXY` | as for kubectl |
| `BUILDX_BUILDER` | the builder, where no `--builder` is given |
| `BUILDKIT_HOST` | the address of a daemon, where neither names a builder |
| `BUILDKIT_PROGRESS` | the mode of `--progress` |
| `DOCKER_DEFAULT_PLATFORM` | the platform, where no `--platform` is given |
| `DOCKER_CONFIG` | the directory of docker's `config.json`: logins, credential helpers, proxies for build arguments |
| `DOCKER_AUTH_CONFIG` | logins as JSON, of the form of that file |
| `SOURCE_DATE_EPOCH` | the time of the image, for builds that are to be the same again |
| `BUILDX_GIT_INFO`, `BUILDX_GIT_LABELS`, `BUILDX_GIT_CHECK_DIRTY` | what is said of the git repository of the context |
| `BUILDX_METADATA_PROVENANCE`, `BUILDX_METADATA_WARNINGS` | what `--metadata-file` has |
| `EXPERIMENTAL_BUILDKIT_SOURCE_POLICY` | a file with a source policy, JSON |
| `KUBECTL_BUILD_DEADLINES` | [limits of single waits](deadlines.md) |
| `XDG_CONFIG_HOME` | where the preference of `kubectl buildkit use` is kept |
| `NO_COLOR`, `TERM`, `CI` | how progress is drawn |
"""


def reference() -> str:
    """The whole page."""
    from kubectl_build.cli.build import app as build
    from kubectl_build.cli.buildkit import app as buildkit

    commands = [("kubectl build", typer.main.get_command(build)), *_commands("kubectl buildkit", typer.main.get_command(buildkit))]
    cluster = next(rows for title, rows in _sections(commands[0][1], "") if title == "Cluster")
    described = "\n".join(_described(name, command) for name, command in commands if name != "kubectl buildkit build")
    return _HEAD + described + "\n" + _TAIL.format(cluster=_table(cluster))


@cache
def flags_of_commands() -> dict[str, set[str]]:
    """Every long flag by its command, named without the leading "kubectl"."""
    from kubectl_build.cli.build import app as build
    from kubectl_build.cli.buildkit import app as buildkit

    commands = [("build", typer.main.get_command(build)), *_commands("buildkit", typer.main.get_command(buildkit))]
    return {
        name: {"--help", *(opt for param in command.params for opt in (*param.opts, *param.secondary_opts))} for name, command in commands
    }


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    for word, inner in sorted(getattr(command, "commands", {}).items()):
        if inner.hidden:
            continue
        if hasattr(inner, "commands"):
            yield from _commands(f"{name} {word}", inner)
        else:
            yield f"{name} {word}", inner


def _described(name: str, command: Any) -> str:
    parts = [f"## {name}", _paragraphs(command.help or "")]
    for title, rows in _sections(command, name):
        if title != "Cluster":
            parts += [f"**{title}**"] if title else []
            parts.append(_table(rows))
    return "\n\n".join(parts) + "\n"


def _sections(command: Any, name: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """The parameters with their help, by the groups that --help has; help itself is left out."""
    found: dict[str, list[tuple[str, str]]] = {}
    context = command.make_context(name, [], resilient_parsing=True)
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if record is not None and "--help" not in param.opts:
            title = getattr(param, "rich_help_panel", None) or ""
            found.setdefault(title, []).append(record)
    return list(found.items())


def _table(rows: Iterable[tuple[str, str]]) -> str:
    lines = [f"| `{_cell(re.sub(r' <(str|path|list.*|Path)>', '', names))}` | {_cell(text).replace('<', '&lt;')} |" for names, text in rows]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def _cell(text: str) -> str:
    return " ".join(text.replace("  [required]", "").split()).replace("|", "\\|")


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
