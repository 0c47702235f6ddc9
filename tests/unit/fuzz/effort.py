"""How much is tried, and what of."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

LONG = settings.get_current_profile_name() == "long"

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def tried(times: int) -> settings:
    """Settings for a test that is run so often, or 200 times as often with the long profile. Seeded unless it is long."""
    return settings(
        max_examples=times * (200 if LONG else 1), derandomize=not LONG, deadline=5000, suppress_health_check=_SLOW, database=None
    )


_ODD_TEXT = ["", "\ud800", "\0", "../..", "\x1b[2J", "9" * 5000, "x" * 70_000, "sha256:" + "0" * 64, "-1", "\u202e", "%", "{{", "\n"]
_ODD: list[Any] = [None, True, 0, -1, 1 << 63, 1 << 200, 1e999, float("nan"), [], {}, [[]], [None], {"": None}, *_ODD_TEXT]

values = st.sampled_from(_ODD) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)
"""Any JSON value."""


@st.composite
def documents(draw: st.DrawFn, *samples: Any) -> Any:
    """One of `samples` with some of its values replaced, or anything at all."""
    document = copy.deepcopy(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(0, 3))):
        places = list(_places(document))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        if draw(st.booleans()):
            holder[key] = copy.deepcopy(draw(values))
        else:
            del holder[key]
    return draw(st.just(document) | values) if draw(st.integers(0, 9)) == 0 else document


def _places(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def written(document: Any) -> bytes:
    """A document as JSON, with whatever JSON has no form for."""
    return json.dumps(document).encode()


@st.composite
def bytes_like(draw: st.DrawFn, *samples: bytes) -> bytes:
    """One of `samples` with bytes changed, removed and repeated, or any bytes."""
    data = bytearray(samples[draw(st.integers(0, len(samples) - 1))])
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=400))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 16)))
        match draw(st.integers(0, 3)):
            case 0:
                del data[start:end]
            case 1:
                data[start:end] = draw(st.binary(max_size=16))
            case 2:
                data[start:start] = data[start:end] * draw(st.integers(1, 8))
            case _:
                del data[start:]
    return bytes(data)


def texts_like(*samples: str) -> st.SearchStrategy[str]:
    """The same for text."""
    changed = bytes_like(*(sample.encode("utf-8", "surrogatepass") for sample in samples))
    return changed.map(lambda data: data.decode("utf-8", "replace")) | st.text(max_size=60)


nested = st.sampled_from([b"[" * 100_000, b'{"a":' * 100_000, b"[" * 990 + b"]" * 990, b"9" * 5000, b'"\\ud800"', b"\xff\xfe[", b""])
"""Documents on which readers break that are otherwise careful."""
