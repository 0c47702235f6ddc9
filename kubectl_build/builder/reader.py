"""Reading a YAML document value by value: what is of another kind than it must be is a ConfigError that names the place and quotes it."""

from __future__ import annotations

import math

from kubectl_build.builder.amounts import parse_seconds
from kubectl_build.errors import ConfigError, UsageError
from kubectl_build.model.json import JsonObject

_MAX_VALUES = 100_000


class Reader:
    """Checks kinds of values and makes the errors of one source, for example 'builder.yaml of ConfigMap "b" in namespace "n"'."""

    def __init__(self, source: str) -> None:
        self._source = source

    def error(self, problem: str, *, hint: str | None = None) -> ConfigError:
        """The error for `problem`, not raised."""
        return ConfigError(f"{self._source} is not valid: {problem}", hint=hint)

    def refused(self, exc: UsageError) -> ConfigError:
        """The error for a value that could be read, and cannot be."""
        return self.error(exc.message, hint=exc.hint)

    def mapping(self, name: str, value: object) -> JsonObject:
        """`value` as a mapping with names of text."""
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise self.error(f'"{name}" must map names to values, not {quote(value)}')
        return value

    def tree(self, name: str, value: object) -> JsonObject:
        """`value` as a mapping that JSON can say, to its leaves; YAML has dates, sets, and aliases that grow without end too."""
        result = self.mapping(name, value)
        waiting: list[object] = [result]
        seen = 0
        while waiting:
            item = waiting.pop()
            seen += 1
            if seen > _MAX_VALUES:
                raise self.error(f'"{name}" has more than {_MAX_VALUES} values')
            if isinstance(item, dict):
                waiting += self.mapping(name, item).values()
            elif isinstance(item, list):
                waiting += item
            elif item is not None and not isinstance(item, str | bool | int) and not (isinstance(item, float) and math.isfinite(item)):
                raise self.error(f'"{name}" has {quote(item)}, which is neither text nor a number', hint="put it in quotes")
        return result

    def trees(self, name: str, value: object) -> tuple[JsonObject, ...]:
        """`value` as a list of trees."""
        if not isinstance(value, list):
            raise self.error(f'"{name}" must be a list, not {quote(value)}')
        return tuple(self.tree(f"{name}[{number}]", item) for number, item in enumerate(value))

    def text(self, name: str, value: object) -> str:
        """`value` as text that is not empty."""
        if not isinstance(value, str) or not value:
            raise self.error(f'"{name}" must be text, not {quote(value)}')
        return value

    def any_text(self, name: str, value: object) -> str:
        """`value` as text."""
        if not isinstance(value, str):
            raise self.error(f'"{name}" must be text, not {quote(value)}')
        return value

    def text_or_number(self, name: str, value: object) -> str:
        """`value` as text; YAML reads an unquoted 1 as a number."""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.error(f'"{name}" must be text or a number, not {quote(value)}')
        return str(value)

    def pairs(self, name: str, value: object) -> dict[str, str]:
        """`value` as a mapping of names to texts."""
        return {key: self.text_or_number(f"{name}.{key}", item) for key, item in self.mapping(name, value).items()}

    def flag(self, name: str, value: object) -> bool:
        """`value` as true or false."""
        if not isinstance(value, bool):
            raise self.error(f'"{name}" must be true or false, not {quote(value)}')
        return value

    def texts(self, name: str, value: object) -> tuple[str, ...]:
        """`value` as a list of texts that are not empty."""
        if not isinstance(value, list):
            raise self.error(f'"{name}" must be a list of texts, not {quote(value)}')
        return tuple(self.text(name, item) for item in value)

    def seconds(self, name: str, value: object) -> int:
        """`value` as a duration."""
        try:
            return parse_seconds(self.text_or_number(name, value), what=f'"{name}"')
        except UsageError as exc:
            raise self.refused(exc) from exc


def quote(value: object) -> str:
    """`value` for a message, cut when it is long."""
    text = repr(value) if not isinstance(value, str) else f'"{value}"'
    return text if len(text) <= 80 else text[:77] + "..."
