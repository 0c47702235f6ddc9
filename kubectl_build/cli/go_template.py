"""The part of Go's text/template that --format is used with: fields, index, json (pure).

Whole programs (range, if, variables) are refused in words. Names of fields are Go's or those of the JSON: .Manifest.Digest, .Image.os.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from kubectl_build.errors import UsageError
from kubectl_build.model.gojson import marshal_indent

_ACTION = re.compile(r"(\s*\{\{-\s|\{\{)(.*?)(\s-\}\}\s*|\}\})", re.DOTALL)
_TOKEN = re.compile(r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<number>\d+)|(?P<field>(?:\.\w+)+|\.)|(?P<word>\w+)|(?P<sign>[()|]))')
_HINT = "only fields, index and json are understood here; -o json prints all there is, for jq"
_FUNCTIONS = ("json", "index", "len")

# fmt: off
_OPTIONAL = frozenset((
    "additionalspdxs", "annotations", "artifacttype", "author", "cmd", "comment", "config", "created", "data", "entrypoint", "env",
    "exposedports", "history", "labels", "osfeatures", "osversion", "platform", "slsa", "spdx", "stopsignal", "urls", "user", "variant",
    "volumes", "workingdir",
))
# fmt: on
"""Fields of the documents that may be absent, folded: they are empty then. Any other that is absent is a mistake."""

_ABSENT = ""


def render(template: str, data: Any) -> str:
    """Replace the actions of `template` by what they say of `data`. Raises UsageError that quotes the action."""
    position, result = 0, []
    for match in _ACTION.finditer(template):
        result += [template[position : match.start()], _Action(match.group(2), data).text()]
        position = match.end()
    rest = template[position:]
    if "{{" in rest:
        raise UsageError(f'--format "{template}": an action is not closed')
    return "".join([*result, rest])


class _Action:
    """What stands between the braces, read from left to right and evaluated at once."""

    def __init__(self, source: str, data: Any) -> None:
        self._source = source.strip()
        self._data = data
        self._tokens: list[tuple[str, str]] = []
        position = 0
        while position < len(self._source):
            match = _TOKEN.match(self._source, position)
            if match is None:
                raise self._error(f'"{self._source[position:].strip()}" is not understood')
            self._tokens.append((match.lastgroup or "", match.group(match.lastgroup or 0)))
            position = match.end()

    def text(self) -> str:
        value = self._pipeline()
        if self._tokens:
            raise self._error(f'"{self._tokens[0][1]}" is not expected there')
        return self._print(value)

    def _pipeline(self) -> Any:
        value = self._command([])
        while self._next("|"):
            value = self._command([value])
        return value

    def _command(self, piped: list[Any]) -> Any:
        if self._tokens and self._tokens[0][0] == "word":
            name = self._tokens.pop(0)[1]
            if name not in _FUNCTIONS:
                raise self._error(f'"{name}" is not supported')
            return self._call(name, [*self._operands(), *piped])
        operands = self._operands()
        if len(operands) != 1 or piped:
            raise self._error("one value is expected" if not piped else "a value takes nothing from a pipe")
        return operands[0]

    def _operands(self) -> list[Any]:
        found = []
        while self._tokens and self._tokens[0] not in (("sign", ")"), ("sign", "|")):
            found.append(self._operand())
        return found

    def _operand(self) -> Any:
        kind, text = self._tokens.pop(0)
        match kind:
            case "text":
                return text[1:-1] if text[0] == "`" else self._unquoted(text)
            case "number":
                return int(text)
            case "field":
                return self._fields(self._data, text)
            case "sign" if text == "(":
                value = self._pipeline()
                if not self._next(")"):
                    raise self._error("a parenthesis is not closed")
                if self._tokens and self._tokens[0][0] == "field":
                    value = self._fields(value, self._tokens.pop(0)[1])
                return value
        raise self._error(f'"{text}" is not supported')

    def _call(self, name: str, arguments: Sequence[Any]) -> Any:
        match name, arguments:
            case "json", [value]:
                return _json(value)
            case "len", [value] if isinstance(value, dict | list | str):
                return len(value)
            case "index", [value, *keys]:
                for key in keys:
                    value = self._item(value, key)
                return value
        raise self._error(f'"{name}" does not take these values')

    def _item(self, value: Any, key: Any) -> Any:
        try:
            return value[key]
        except (KeyError, IndexError, TypeError):
            there = f": there are {', '.join(map(str, value))}" if isinstance(value, dict) else ""
            raise self._error(f'there is no item "{key}"{there}') from None

    def _fields(self, value: Any, path: str) -> Any:
        for name in path.split(".")[1:] if path != "." else ():
            value = self._field(value, name)
        return value

    def _field(self, value: Any, name: str) -> Any:
        if isinstance(value, dict):
            if name in value:
                return value[name]
            for key, item in value.items():
                if _folded(key) == _folded(name):
                    return item
        if (value == _ABSENT or isinstance(value, dict)) and _folded(name) in _OPTIONAL:
            return _ABSENT
        raise self._error(f'there is no field "{name}"')

    def _print(self, value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, list) and not any(isinstance(item, dict | list) for item in value):
            return f"[{' '.join(self._print(item) for item in value)}]"
        if isinstance(value, dict | list):
            raise self._error("it is not a plain value", f"write {{{{json {self._source}}}}}")
        return "<no value>" if value is None else str(value)

    def _unquoted(self, text: str) -> str:
        try:
            return str(json.loads(text))
        except ValueError:
            raise self._error(f"{text} is not a string") from None

    def _next(self, sign: str) -> bool:
        if self._tokens and self._tokens[0] == ("sign", sign):
            self._tokens.pop(0)
            return True
        return False

    def _error(self, why: str, hint: str = _HINT) -> UsageError:
        return UsageError(f'--format "{{{{{self._source}}}}}": {why}', hint=hint)


def _json(value: Any) -> str:
    return marshal_indent(value).decode()


def _folded(name: str) -> str:
    return name.replace("_", "").replace(".", "").lower()
