"""What a Dockerfile on this machine offers to be named: its stages and its build arguments.

Read by its lines alone: a frontend would have to be asked for more, and a candidate too many does no harm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from kubectl_build.cli.complete_line import Line

_FROM = re.compile(r"[ \t]*FROM[ \t]+(?:--\S+[ \t]+)*(\S+)(?:[ \t]+AS[ \t]+(\S+))?", re.IGNORECASE)
_ARG = re.compile(r"[ \t]*ARG[ \t]+(.+)", re.IGNORECASE)
_ONE = re.compile(r"(\w+)(?:=(\"[^\"]*\"|'[^']*'|\S*))?")
_LONGEST = 1 << 20
"""Bytes that are read of a file; nobody's Dockerfile is longer."""


def stages(line: Line) -> Mapping[str, str]:
    """The named stages of the line's Dockerfile, each with what it begins from."""
    found = (_FROM.match(text) for text in _lines(line))
    return {match[2]: f"from {match[1]}" for match in found if match and match[2]}


def arguments(line: Line) -> Mapping[str, str]:
    """The build arguments that the line's Dockerfile declares, with their defaults."""
    declared = (_ARG.match(text) for text in _lines(line))
    return {one[1]: (one[2] or "").strip("\"'") for match in declared if match for one in _ONE.finditer(match[1])}


def _lines(line: Line) -> list[str]:
    """The instructions of the Dockerfile that --file or PATH names; none of one that is elsewhere or cannot be read."""
    named = line.values.get("--file", ())
    file = Path(named[-1]) if named else Path(line.arguments[0] if line.arguments else ".", "Dockerfile")
    try:
        if not file.is_file():  # a pipe would keep the shell waiting
            return []
        with file.open("rb") as stream:
            text = stream.read(_LONGEST).decode("utf-8-sig", errors="replace")
    except (OSError, ValueError):
        return []
    return re.sub(r"\\[ \t]*\r?\n", " ", text).splitlines()
