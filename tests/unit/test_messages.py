"""Every sentence that an error of this program can say, in one place: `pytest -s tests/unit/test_messages.py` prints them with their hints.

They are read from the source, so that none is forgotten. A value that is put in is shown as {its expression}.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import kubectl_build
from kubectl_build import errors

ROOT = Path(kubectl_build.__file__).parent
KINDS = {name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, errors.KubectlBuildError)}

NAMES = {"Dockerfile", "BuildKit", "Docker", "Kubernetes", "Windows", "Lease", "Secret", "Pod", "Tilt"}
"""Words that begin with a capital letter wherever they stand. Others have two capitals (RUN, ConfigMap) or a value in them."""
ONLY_ONE = "(the|this) (build|builder|builder's \\w+|image|nodes)|stdin|stdout|a terminal|exporter|no source|named twice"
"""What needs no name, since there is one of it; and three sentences about what was typed that have nothing to quote."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """What one place in the source says: an error's message or a hint."""

    place: str
    kind: str
    text: str
    is_hint: bool = False

    def __str__(self) -> str:
        return f"{self.place:<44} {'hint' if self.is_hint else self.kind:<16} {self.text}"


@cache
def sentences() -> tuple[Sentence, ...]:
    return tuple(sentence for file in sorted(ROOT.rglob("*.py")) if "proto" not in file.parts for sentence in _of_file(file))


def _of_file(file: Path) -> Iterator[Sentence]:
    tree = ast.parse(file.read_text())
    for scope in ast.walk(tree):
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
            texts = _assigned(scope)
            for call in _calls(scope):
                place = f"{file.relative_to(ROOT)}:{call.lineno}"
                kind = _name(call.func)
                message = call.args[0] if call.args else None
                hint = next((word.value for word in call.keywords if word.arg == "hint"), None)
                yield from (Sentence(place, kind, text) for text in _texts(message, texts))
                yield from (Sentence(place, kind, text, is_hint=True) for text in _texts(hint, texts))


def _calls(scope: ast.AST) -> Iterator[ast.Call]:
    """The errors that a function makes itself, without those of functions in it."""
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.Call) and _name(node.func) in KINDS:
            yield node
        yield from _calls(node)


def _name(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""


def _assigned(scope: ast.AST) -> dict[str, list[ast.expr]]:
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
    return found


def _texts(node: ast.expr | None, assigned: dict[str, list[ast.expr]]) -> list[str]:
    """The texts that an expression may be, as far as the source of one function tells."""
    if isinstance(node, ast.IfExp):
        return [*_texts(node.body, assigned), *_texts(node.orelse, assigned)]
    if isinstance(node, ast.Name):
        return [text for value in assigned.get(node.id, ()) if not isinstance(value, ast.Name) for text in _texts(value, assigned)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        lefts, rights = _texts(node.left, assigned), _texts(node.right, assigned)
        return [left + right for left in lefts for right in rights]
    if isinstance(node, ast.JoinedStr):
        return ["".join(str(part.value) if isinstance(part, ast.Constant) else f"{{{_inside(part)}}}" for part in node.values)]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def _inside(part: ast.expr) -> str:
    return ast.unparse(part.value) if isinstance(part, ast.FormattedValue) else ast.unparse(part)


def _wrongs(sentence: Sentence) -> list[str]:
    text = sentence.text
    first = text.split()[0] if text.strip() else ""
    found = []
    if not first:
        return ["is empty"]
    if first[0].isupper() and first.strip("\"',:") not in NAMES and sum(letter.isupper() for letter in first) < 2:
        found.append("begins with a capital letter")
    if text.endswith(".") and not text.endswith("..."):
        found.append("ends with a dot")
    if text != text.strip() or "\n" in text:
        found.append("has blanks at its ends, or several lines")
    if not sentence.is_hint and not _names_something(text):
        found.append("names no thing and no value")
    return found


def _names_something(text: str) -> bool:
    """A value, a quoted name, a flag, a variable, or a word for what there is one of: the build, its builder, a stream."""
    return bool(re.search(r"[{\"'/=]|--\w|\w+-\w+-|[A-Z]{2,}|[a-z][A-Z]|\b(" + "|".join(NAMES) + "|" + ONLY_ONE + r")\b", text))


def test_messages_are_found() -> None:
    for sentence in sentences():
        print(sentence)

    assert len(sentences()) > 300


@pytest.mark.parametrize("sentence", sentences(), ids=lambda sentence: sentence.place + ("-hint" if sentence.is_hint else ""))
def test_message_keeps_the_rules(sentence: Sentence) -> None:
    assert _wrongs(sentence) == []
