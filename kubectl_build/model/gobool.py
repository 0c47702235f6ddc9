"""Booleans as Go's strconv.ParseBool reads them: in flags, attributes and the environment (pure)."""

from __future__ import annotations

_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))


def parse_bool(text: str) -> bool | None:
    """What `text` says; None for what is no boolean."""
    return True if text in _TRUE else False if text in _FALSE else None
