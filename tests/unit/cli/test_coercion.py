"""Values that are taken as they are: the same as typer's own conversion gives, and without what that imports."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from kubectl_build.cli.build import app
from kubectl_build.cli.buildkit import app as buildkit_app
from kubectl_build.cli.coercion import spare_conversions

_TEXTS = ("", "a", "plain", "json", "auto", "never", "7", "true", " x ", "é\udcff")


def _commands(command: Any, path: str) -> dict[str, Any]:
    found = {path: command}
    for name, inner in getattr(command, "commands", {}).items():
        found |= _commands(inner, f"{path} {name}")
    return found


def _outcome(param: Any, context: Any, value: object) -> tuple[object, type]:
    try:
        result = param.process_value(context, value)
    except typer.BadParameter as error:
        return error.message, type(error)
    except typer.Exit as error:
        return error.exit_code, type(error)
    return list(result) if isinstance(result, tuple) else result, list if isinstance(result, tuple) else type(result)


@pytest.mark.parametrize("group", [app, buildkit_app])
def test_values_of_every_flag_become_what_typer_makes_of_them(group: typer.Typer) -> None:
    plain, spared = (_commands(typer.main.get_command(group), "") for _ in range(2))
    spare_conversions(spared[""])
    compared = 0
    for path, command in plain.items():
        context = typer.Context(command)
        for before, after in zip(command.get_params(context), spared[path].get_params(context), strict=True):
            many = before.multiple or before.nargs == -1
            values = [before.default, None, True, False, *([list(_TEXTS), tuple(_TEXTS), []] if many else _TEXTS)]
            for value in values:
                assert _outcome(after, context, value) == _outcome(before, context, value), f"{path} {before.name}: {value!r}"
                compared += 1
    assert compared > 500
