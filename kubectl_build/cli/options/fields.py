"""What the grammars share: CSV values and docker's sizes (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kubectl_build.errors import UsageError

_FIELD = re.compile(r'(?:"((?:[^"]|"")*)"|([^",]*))(,|$)')
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+) ?(?:([kmgtp])i?b?|b)?", re.IGNORECASE)


def parse_fields(flag: str, text: str) -> list[str]:
    """Split one CSV value as Go's encoding/csv does: a quote may stand only around a whole field.

    Raises UsageError that names the flag.
    """
    fields: list[str] = []
    position, comma = 0, ","
    while comma:
        match = _FIELD.match(text, position)
        if match is None:
            raise UsageError(
                f'{flag} "{text}" is not valid CSV: a quote inside a field',
                hint="""quote the whole field: '"KEY=VALUE"'""",
            )
        quoted, plain, comma = match.groups()
        fields.append(plain if quoted is None else quoted.replace('""', '"'))
        position = match.end()
    return fields


def write_fields(pairs: Iterable[tuple[str, str]]) -> str:
    """Write KEY=VALUE pairs as CSV: the reverse of `parse_fields`, with quotes only where they are needed."""
    texts = (f"{key}={value}" for key, value in pairs)
    return ",".join('"' + text.replace('"', '""') + '"' if "," in text or '"' in text else text for text in texts)


def parse_size(text: str) -> int | None:
    """Read a number of bytes with docker's binary units (64m, 1.5GiB, 100b); None for what is none."""
    match = _SIZE.fullmatch(text)
    if match is None:
        return None
    size = float(match.group(1)) * 1024 ** (1 + "kmgtp".index(match.group(2).lower()) if match.group(2) else 0)
    return int(size) if size < 2**63 else None
