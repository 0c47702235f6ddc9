"""The cases, by subject."""

from __future__ import annotations

from tests.parity.case import Case
from tests.parity.corpus import instructions

CASES: tuple[Case, ...] = (*instructions.CASES,)
