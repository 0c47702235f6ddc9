"""Numbers as BuildKit and docker print them."""

from __future__ import annotations

_DECIMAL_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def format_bytes(count: int) -> str:
    """`123B`, `1.23kB`: decimal units with two digits, whole bytes below a thousand (tonistiigi/units with %.2f)."""
    exponent = 0
    while exponent < len(_DECIMAL_UNITS) - 1 and abs(count) >= 1000 ** (exponent + 1):
        exponent += 1
    if exponent == 0:
        return f"{count}B"
    return f"{count / 1000**exponent:.2f}{_DECIMAL_UNITS[exponent]}"


def human_size(size: float) -> str:
    """A number of bytes with four digits at most: `1.234MB` (docker/go-units HumanSize)."""
    exponent = 0
    while size >= 1000 and exponent < len(_DECIMAL_UNITS) - 1:
        size /= 1000
        exponent += 1
    return f"{size:.4g}{_DECIMAL_UNITS[exponent]}"


def format_amount(current: int, total: int) -> str:
    """`1.00kB / 2.00kB`, `1.00kB` when the total is not known, "" when there is nothing to say."""
    if total:
        return f"{format_bytes(current)} / {format_bytes(total)}"
    return format_bytes(current) if current else ""


def format_log_time(seconds: float) -> str:
    """The time before a log line: three digits below 10 s, two below 100 s, then one."""
    digits = 3 if seconds < 10 else 2 if seconds < 100 else 1
    return f"{seconds:.{digits}f}"
