"""Values of the command line that need no conversion.

typer has pydantic check every value, also a default: its import and a checker for each flag took a sixth of a small build's processor time,
only to find that texts are texts.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any

_UNKNOWN = object()


def spare_conversions(command: Any) -> None:
    """Let the parameters of `command`, or of a group's commands, take values as they are where typer would not change or refuse them."""
    command.get_params = partial(_spared, command.get_params)  # typer chooses the classes; what an instance has goes before them
    for inner in getattr(command, "commands", {}).values():
        spare_conversions(inner)


def _spared(get_params: Callable[[Any], list[Any]], context: Any) -> list[Any]:
    """All parameters, --help too, each with its `process_value` replaced once."""
    params = get_params(context)
    for param in params:
        if not isinstance(param.process_value, partial):
            param.process_value = partial(_process, param, param.process_value)
    return params


def _process(param: Any, convert: Callable[[Any, Any], Any], context: Any, value: Any) -> Any:
    known = _as_it_is(param, value)
    if known is _UNKNOWN or (param.required and param.value_is_missing(known)):
        return convert(context, value)
    return known if param.callback is None else param.callback(context, param, known)


def _as_it_is(param: Any, value: Any) -> Any:
    """What typer would make of `value`, where that takes no conversion, else _UNKNOWN."""
    kind, many = param.type_descriptor.annotation, param.multiple or param.nargs == -1
    if value is None:
        return () if many else None
    if many:
        plain = kind == list[str] and isinstance(value, list | tuple) and all(type(item) is str for item in value)
        return list(value) if plain else _UNKNOWN
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next((member for member in kind if value is member or (type(value) is str and value == member.value)), _UNKNOWN)
    return value if type(value) is kind and kind in (str, bool, int) else _UNKNOWN
