"""What a check has to say."""

from __future__ import annotations

import re
from enum import StrEnum

from kubectl_build.values import dataclass

_COMMAND = re.compile(r"(?:^|[:;] )(kubectl [^;]*)$")


class Level(StrEnum):
    """How grave a finding is. A problem prevents building; a note is worth knowing."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was found, what follows from it, and the command that helps. The last two are "" where there is nothing to do."""

    level: Level
    what: str
    consequence: str = ""
    command: str = ""


def ok(what: str) -> Finding:
    """All is well with `what`."""
    return Finding(level=Level.OK, what=what)


def note(what: str, consequence: str = "", command: str = "") -> Finding:
    """Something to know of."""
    return Finding(level=Level.NOTE, what=what, consequence=consequence, command=command)


def problem(what: str, consequence: str, command: str = "") -> Finding:
    """Something that prevents building."""
    return Finding(level=Level.PROBLEM, what=what, consequence=consequence, command=command)


def command_of(hint: str | None) -> str:
    """The command that an error's hint is or ends with, "" when it has none: `see: kubectl get nodes`."""
    found = _COMMAND.search(hint or "")
    return found.group(1) if found else ""
