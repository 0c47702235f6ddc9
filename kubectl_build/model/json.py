"""JSON documents whose shape somebody else defines (Kubernetes objects, registry documents): their type, and how they are read."""

from __future__ import annotations

import json
from typing import Any

JsonObject = dict[str, Any]
"""A JSON object as `parse_json` returns it. Readers check what they take from it."""


def parse_json(data: str | bytes | bytearray) -> Any:
    """Read JSON that others wrote. Raises ValueError for what is none, also for what json.loads fails on in other ways or takes in spite
    of it: nesting without end, and halves of characters, which no later writer could encode."""
    try:
        value = json.loads(data)
        escaped = b"\\ud" if isinstance(data, bytes | bytearray) else "\\ud"
        if escaped in data.lower():  # type: ignore[operator]  # both are of one type
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except UnicodeEncodeError as error:
        raise ValueError("it has half of a character") from error
    return value
