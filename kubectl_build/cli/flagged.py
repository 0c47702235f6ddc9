"""Commands with many flags: typer reads them from a signature, which is made here from the fields of a dataclass."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints


def with_flags(kind: type) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command the fields of dataclass `kind` as flags: each is Annotated with its option and has a default. `flags` gets them."""
    hints = get_type_hints(kind, include_extras=True)
    fields = dataclasses.fields(kind)
    added = [
        inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=item.default, annotation=hints[item.name]) for item in fields
    ]

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        signature = inspect.signature(command, eval_str=True)
        own = [parameter for name, parameter in signature.parameters.items() if name != "flags"]

        @functools.wraps(command)
        def wrapper(*args: Any, **kwargs: Any) -> int:
            values = {item.name: kwargs.pop(item.name) for item in fields}
            return command(*args, flags=kind(**values), **kwargs)

        parameters = sorted([*own, *added], key=lambda parameter: parameter.kind)
        wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # what inspect.signature reads first
        wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": int}
        del wrapper.__wrapped__  # or typer would read the annotations of the function beneath
        return wrapper

    return decorate
