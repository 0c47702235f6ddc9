"""Reading a command line that is still being typed: which command it is, and what the word at its end is. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from kubectl_build.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """`command` is typer's, and `commands` are the words that led to it. `option` (None: no flag's value) awaits the word that begins with
    `typed`. `values` are those of the flags before, by their long names; `arguments` are the words that are no flags."""

    command: Any
    commands: tuple[str, ...] = ()
    option: Any = None
    typed: str = ""
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    only_arguments: bool = False

    @property
    def flag(self) -> str:
        """The long name of the flag whose value is typed, "" for none."""
        return long_name(self.option) if self.option is not None else ""


def read_line(command: Any, words: Sequence[str]) -> Line:
    """Read `words`, which follow the name of `command`; the last may be empty."""
    *complete, last = words
    commands: list[str] = []
    arguments: list[str] = []
    values: dict[str, list[str]] = {}
    options, waiting, only_arguments = _options(command), None, False
    for word in complete:
        if waiting is not None:
            values.setdefault(long_name(waiting), []).append(word)
            waiting = None
        elif only_arguments or not word.startswith("-") or word == "-":
            inner = getattr(command, "commands", {}).get(word)
            if inner is None:
                arguments.append(word)
            else:
                command, options = inner, _options(inner)
                commands.append(word)
        elif word == "--":
            only_arguments = True
        else:
            option, value = _split(word, options)
            if option is not None:
                values.setdefault(long_name(option), []).extend([value] if value is not None else [])
                waiting = option if value is None and takes_value(option) else None
    typed = last
    if waiting is None and not only_arguments and last.startswith("--") and "=" in last:
        waiting, _ = _split(last, options)
        typed = last.partition("=")[2]
    return Line(
        command=command,
        commands=tuple(commands),
        option=waiting,
        typed=typed,
        values=values,
        arguments=tuple(arguments),
        only_arguments=only_arguments,
    )


def long_name(option: Any) -> str:
    """An option's first long name."""
    return next((name for name in option.opts if name.startswith("--")), str(option.opts[0]))


def takes_value(option: Any) -> bool:
    """Whether a word follows the option. `--plan` does without: its value is behind an equals sign."""
    return not (option.is_flag or option.count or long_name(option) == "--plan")


def _options(command: Any) -> dict[str, Any]:
    return {name: param for param in command.params if hasattr(param, "is_flag") for name in (*param.opts, *param.secondary_opts)}


def _split(word: str, options: Mapping[str, Any]) -> tuple[Any, str | None]:
    """The option of a word that begins with a dash, and the value that stands in the same word; None for what is not there."""
    name, equals, value = word.partition("=")
    if name in options:
        return options[name], value if equals else None
    if word.startswith("--") or word[:2] not in options:
        return None, None
    return (options[word[:2]], word[2:]) if takes_value(options[word[:2]]) else (None, None)
