"""Which entries of a cache are meant, and how much space: the filters and sizes of du and prune (pure).

Rules: docker/buildx commands/prune.go, docker/cli opts, the filter grammar of containerd (pkg/filters).
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable

from kubectl_build.buildkit.usage import UsageFilter
from kubectl_build.cli.options.fields import parse_size
from kubectl_build.deadlines import parse_duration
from kubectl_build.errors import UsageError
from kubectl_build.model.gobool import parse_bool

_OPPOSITES = {"mutable": "immutable", "immutable": "mutable", "shared": "private", "private": "shared"}
_FLAGS = ("inuse", *_OPPOSITES)
"""Fields that an entry has or has not, without a value."""
_TEXTS = ("id", "parents", "description", "type")
_AGES = ("until", "unused-for")
_NAMES = ", ".join(("until", *_TEXTS, *_FLAGS))

_PLAIN_VALUE = re.compile(r"[^\s,\"'/|]+")


def parse_filters(texts: Iterable[str]) -> UsageFilter:
    """Parse all --filter: NAME=VALUE, NAME!=VALUE or NAME~=PATTERN, and for what an entry is or is not also NAME alone. All must hold.

    Raises UsageError.
    """
    terms: list[str] = []
    seen: set[str] = set()
    unused = 0.0
    for text in filter(None, texts):
        name, operator, value = _split(text)
        if name + operator in seen or (name in _AGES and unused):
            raise UsageError(f'filter "{name}" expects only one value')
        seen.add(name + operator)
        if name in _AGES and operator == "=":
            unused = parse_duration(value, f"filter {name}")
        elif name in _FLAGS:
            terms.append(_flag_term(text, name, operator, value))
        elif name in _TEXTS:
            if operator == "~=":
                _check_pattern(text, value)
            # An ID is found by any part of it, as in buildx.
            written = "~=" if name == "id" and operator == "=" else "==" if operator == "=" else operator
            terms.append(f"{name}{written}{_quoted(value)}")
        else:
            raise UsageError(f'filter "{text}" is not known', hint=f"filters are {_NAMES}, with =, != or ~=")
    return UsageFilter(expression=",".join(terms), unused_seconds=unused)


def _split(text: str) -> tuple[str, str, str]:
    name, equals, value = text.partition("=")
    name = name.strip().lower()
    operator = "="
    if equals and name[-1:] in ("!", "~"):
        name, operator = name[:-1], name[-1] + "="
    if not equals and name not in _FLAGS:
        raise UsageError(f'filter "{text}" has no value', hint="write NAME=VALUE, for example type=exec.cachemount")
    return name, operator, value.strip()


def _check_pattern(text: str, pattern: str) -> None:
    """Refuse what no daemon can read: it would say nothing, and find nothing. Python does not know all that Go does, so that may pass."""
    if "\\" in pattern or "[[:" in pattern or "(?" in pattern:
        return
    try:
        with warnings.catch_warnings(action="ignore"):  # of sets within sets, which Go does not have
            re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f'filter "{text}" is not a regular expression: {error}') from error


def _flag_term(text: str, name: str, operator: str, value: str) -> str:
    wanted = parse_bool(value) if value else True
    if wanted is None or operator == "~=":
        raise UsageError(f'filter "{text}" is not valid: {name} is true or false')
    if wanted == (operator == "="):
        return name
    if name not in _OPPOSITES:
        raise UsageError(
            f'filter "{text}" cannot be asked of a daemon: it only knows what is in use', hint=f"leave it out, or use {name}=true"
        )
    return _OPPOSITES[name]


def _quoted(value: str) -> str:
    return value if _PLAIN_VALUE.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def parse_space(flag: str, text: str | None) -> int:
    """Parse an amount of disk space, in binary units as docker has it (10gb is 10 GiB); None is 0. Raises UsageError."""
    size = 0 if text is None else parse_size(text.strip())
    if size is None or size >= 2**63:
        raise UsageError(f'{flag} "{text}" is not a size', hint="write bytes with a unit, for example 512MB or 10gb")
    return size
