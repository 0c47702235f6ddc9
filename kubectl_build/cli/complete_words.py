"""Candidates for a word of a command line: sub-commands, flags, arguments, and values that need no cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from kubectl_build.cli.complete_candidates import ANY_DIRECTORY, ANY_FILE, NOTHING, Answer, Directive, choices
from kubectl_build.cli.complete_cluster import BUILDER, OF_CLUSTER, ask_cluster
from kubectl_build.cli.complete_line import Line, long_name
from kubectl_build.cli.complete_values import VALUES

_OF_FILES = {"--kubeconfig", "--certificate-authority", "--client-certificate", "--client-key", "--ca"}
_OF_BUILDERS = {"builder", "name", "names"}
"""Arguments of `kubectl buildkit` that name a builder which is there."""
_NO_BUILDER = {"create", "imagetools"}


def complete_line(line: Line, words: Sequence[str], environ: Mapping[str, str]) -> Answer:
    """The candidates for what is being typed at the end of `line`, which was read from `words`."""
    if line.option is not None:
        return _values(line, words, environ)
    if line.typed.startswith("-") and not line.only_arguments:
        return _flags(line)
    commands = getattr(line.command, "commands", None)
    if commands:
        return choices({name: _summary(inner) for name, inner in commands.items() if not inner.hidden}, line.typed)
    return _arguments(line, words, environ)


def _values(line: Line, words: Sequence[str], environ: Mapping[str, str]) -> Answer:
    if line.flag in OF_CLUSTER:
        return ask_cluster(line.flag, line.typed, words, environ)
    kind = line.option.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return choices([str(member) for member in kind], line.typed)
    if kind is Path or line.option.metavar == "FILE" or line.flag in _OF_FILES:
        return ANY_FILE
    values = VALUES.get(line.flag)
    return values(line) if values else NOTHING


def _flags(line: Line) -> Answer:
    """The flags that may still be given. One that has a value may be followed by the value, so a space is the shell's to put."""
    found: dict[str, str] = {}
    for option in line.command.params:
        if not hasattr(option, "is_flag") or option.hidden or (long_name(option) in line.values and not option.multiple):
            continue
        found |= {name: option.help or "" for name in option.opts if name.startswith("--") or line.typed == name}
    found |= {"--help": "Show what there is, and leave."}
    return Answer(dict(sorted(found.items()))).starting_with(line.typed)


def _arguments(line: Line, words: Sequence[str], environ: Mapping[str, str]) -> Answer:
    arguments = [param for param in line.command.params if not hasattr(param, "is_flag")]
    if not arguments or (len(line.arguments) >= len(arguments) and arguments[-1].nargs == 1):
        return NOTHING
    name = arguments[min(len(line.arguments), len(arguments) - 1)].name
    if name == "path":
        return ANY_DIRECTORY
    if name in _OF_BUILDERS and not _NO_BUILDER & set(line.commands):
        found = ask_cluster(BUILDER, line.typed, words, environ)
        return Answer({word: text for word, text in found.candidates.items() if word not in line.arguments}, Directive.NO_FILES)
    return NOTHING


def _summary(command: Any) -> str:
    return str(command.get_short_help_str(limit=200))
