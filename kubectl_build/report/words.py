"""Names and numbers as a page says them, to be read by people (pure)."""

from __future__ import annotations

import re

_DIGEST = re.compile(r"(sha256:[0-9a-f]{8})[0-9a-f]{56}")
_SHELL = re.compile(r"^(?:RUN (?:\|\d+ .*? )?/bin/sh -c |/bin/sh -c #\(nop\) +)", re.DOTALL)
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def short_name(name: str) -> str:
    """A step's name with its digests cut short: they are in every name of an image, and longer than all the rest."""
    return _DIGEST.sub("\\1…", name)


def instruction(created_by: str) -> str:
    """An entry of an image's history as the instruction that made it: without the shell, its build arguments, and the builder's mark."""
    words = created_by.removesuffix(" # buildkit")
    found = _SHELL.match(words)
    return ("RUN " if found and words.startswith("RUN ") else "") + (words[found.end() :] if found else words)


def bytes_text(count: float) -> str:
    """`140 B`, `1.1 MB`, `12 MB`: decimal units, two digits or more."""
    exponent = 0
    while exponent < len(_UNITS) - 1 and count >= 999.5:
        count, exponent = count / 1000, exponent + 1
    return f"{count:.1f} {_UNITS[exponent]}" if exponent and count < 9.95 else f"{count:.0f} {_UNITS[exponent]}"


def seconds_text(seconds: float) -> str:
    """`0.4 s`, `12.3 s`, `2 min 5 s`, `1 h 2 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = int(seconds + 0.5)
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole // 60 % 60} min"
