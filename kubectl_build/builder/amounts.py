"""Amounts as people write them: Kubernetes quantities (2Gi, 500m) and durations (90s, 1h30m). Pure."""

from __future__ import annotations

import math
import re
from decimal import Decimal

from kubectl_build.deadlines import parse_duration
from kubectl_build.errors import UsageError

_QUANTITY = re.compile(r"(\d{1,18}(?:\.\d{0,9})?|\.\d{1,9})(|[numkMGTPE]|[KMGTPE]i|[eE][-+]?\d{1,2})", re.ASCII)
_DECIMAL = {"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1), "k": Decimal(1000)}
_DECIMAL.update({unit: Decimal(1000) ** power for power, unit in enumerate("MGTPE", 2)})
_BINARY = {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)}


def parse_quantity(text: str, *, what: str) -> Decimal:
    """The value of a Kubernetes quantity. `what` names it in the error. Raises UsageError."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise UsageError(f'{what} "{text}" is not an amount', hint="write it as Kubernetes does, for example 2, 500m, 512Mi or 20Gi")
    number, unit = match.groups()
    if unit[:1] in ("e", "E") and len(unit) > 1:
        return Decimal(number) * Decimal(10) ** int(unit[1:])
    return Decimal(number) * (_BINARY.get(unit) or _DECIMAL[unit])


def parse_seconds(text: str, *, what: str) -> int:
    """The whole seconds of a duration such as 90s, 10m or 1h30m, rounded up; 0 too. `what` names it in the error. Raises UsageError."""
    return 0 if text in ("0", "0s") else math.ceil(parse_duration(text, what))


def format_seconds(seconds: int) -> str:
    """The shortest duration that `parse_seconds` reads as `seconds`."""
    parts = []
    for unit, size in (("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
