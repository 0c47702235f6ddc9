"""All that the program's source can say: each text in it, with `{...}` where a value is put in."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import kubectl_build

_ROOT = Path(kubectl_build.__file__).parent


@cache
def said() -> tuple[str, ...]:
    """Every text of every module but those of the generated ones; docstrings too, which does no harm."""
    return tuple(text for file in sorted(_ROOT.rglob("*.py")) if "proto" not in file.parts for text in _texts(ast.parse(file.read_text())))


def _texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{...}" for part in node.values)


def is_said(sentence: str) -> bool:
    """Whether one text of the source has the words of `sentence`, in which `…` stands for anything."""
    wanted = re.compile(".*".join(re.escape(part) for part in sentence.split("…")), re.DOTALL)
    return any(wanted.search(text) for text in said())
