"""Commands with many flags: typer reads them from a signature, so flags that stand elsewhere are put into it, and come as one value."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

Command = Callable[..., int]


def with_parameters(command: Command, name: str, added: Sequence[inspect.Parameter], make: Callable[[dict[str, Any]], Any]) -> Command:
    """`command` with its parameter `name` replaced by the keywords `added`: it gets there what `make` makes of their values."""
    signature = inspect.signature(command, eval_str=True)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != name]
    names = [parameter.name for parameter in added]

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> int:
        values = {item: kwargs.pop(item) for item in names if item in kwargs}
        return command(*args, **{name: make(values)}, **kwargs)

    parameters = sorted([*own, *added], key=lambda parameter: parameter.kind)
    wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # what inspect.signature reads first
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": int}
    del wrapper.__wrapped__  # or typer would read the annotations of the function beneath
    return wrapper


def keyword(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    """A parameter that is given by name."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def with_flags(kind: type) -> Callable[[Command], Command]:
    """Give a command the fields of dataclass `kind` as flags: each is Annotated with its option and has a default. `flags` gets them."""
    hints = get_type_hints(kind, include_extras=True)
    added = [keyword(item.name, item.default, hints[item.name]) for item in dataclasses.fields(kind)]
    return lambda command: with_parameters(command, "flags", added, lambda values: kind(**values))
