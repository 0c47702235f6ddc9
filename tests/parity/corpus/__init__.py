"""The cases, by subject."""

from __future__ import annotations

from tests.parity.case import Case
from tests.parity.corpus import contexts, flags, instructions, mounts, outputs, platforms, trees

CASES: tuple[Case, ...] = (
    *(*instructions.CASES, *trees.CASES, *contexts.CASES, *mounts.CASES),
    *(*flags.CASES, *outputs.CASES, *platforms.CASES),
)
