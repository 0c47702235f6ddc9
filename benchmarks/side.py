"""Whose turn it is."""

from __future__ import annotations

from enum import Enum


class Side(Enum):
    """In a row that compares us with ourselves THEIRS is the easier case."""

    OURS = "ours"
    THEIRS = "theirs"
