"""Which builds of a history are meant: --filter of `history ls`, and how a REF is written (pure).

Rules: docker/buildx v0.35.0 commands/history/utils.go.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from kubectl_build.buildkit.histories import HistoryRecord
from kubectl_build.deadlines import parse_duration
from kubectl_build.errors import UsageError

Wanted = Callable[[HistoryRecord], bool]

_TEXTS: dict[str, Callable[[HistoryRecord], str]] = {
    "ref": lambda record: record.ref,
    "repository": lambda record: record.repository,
    "status": lambda record: record.outcome.value,
}
_NUMBERS: dict[str, Callable[[HistoryRecord, float], float]] = {
    "startedAt": lambda record, now: record.created,
    "completedAt": lambda record, now: record.completed or 0.0,
    "duration": lambda record, now: record.seconds(now),
}
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_TERM = re.compile(r"(?P<key>\w+)(?P<sign>!=|<=|>=|=|<|>)(?P<value>.*)", re.DOTALL)
_HINT = "filters are ref, repository and status with = or !=, startedAt, completedAt and duration with <, <=, > or >="

T = TypeVar("T")


def parse_build_filters(texts: Iterable[str], now: float) -> Wanted:
    """What all of --filter ask for together: status=error, duration>=30s, startedAt>24h (that long ago, or RFC 3339).

    `now` is in seconds since the epoch. Raises UsageError.
    """
    terms = [_term(text, now) for text in filter(None, texts)]
    return lambda record: all(term(record) for term in terms)


def _term(text: str, now: float) -> Wanted:
    found = _TERM.fullmatch(text.strip())
    if found is None:
        raise UsageError(f'filter "{text}" is not known', hint=_HINT)
    key, sign, value = found["key"], found["sign"], found["value"]
    if key in _TEXTS and sign in ("=", "!="):
        return _text_term(_TEXTS[key], sign, value, whole=key == "status")
    if key in _NUMBERS and sign in _COMPARISONS:
        number, compare = _NUMBERS[key], _COMPARISONS[sign]
        limit = parse_duration(value, f"filter {key}") if key == "duration" else _moment(text, value, now)
        return lambda record: compare(number(record, now), limit)
    raise UsageError(f'filter "{text}" is not known', hint=_HINT)


def _text_term(read: Callable[[HistoryRecord], str], sign: str, value: str, *, whole: bool) -> Wanted:
    if sign == "!=":
        return lambda record: read(record) != value
    return lambda record: read(record) == value if whole else value in read(record)


def _moment(text: str, value: str, now: float) -> float:
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError:
        pass
    try:
        return now - parse_duration(value, "time")
    except UsageError as error:
        raise UsageError(f'filter "{text}" has no time', hint="write it like startedAt>24h or startedAt>2026-01-02T15:04:05Z") from error


def chosen(ref: str, entries: Sequence[tuple[T, HistoryRecord]]) -> tuple[T, HistoryRecord]:
    """The entry that REF means: the beginning of a build ID, the end of a "builder/pod/ID", ^N for the Nth before the newest, "" for the
    newest. `entries` are newest first. Raises UsageError."""
    if not entries:
        raise UsageError("the builder remembers no build")
    if not ref or ref.startswith("^"):
        offset = ref[1:] or "0"
        if not (offset.isascii() and offset.isdigit()) or len(offset) > 6:
            raise UsageError(f'"{ref}" is no place in the history', hint="^0 is the newest build, ^1 the one before")
        if int(offset) >= len(entries):
            raise UsageError(f"there is no build {ref}: the builder remembers {len(entries)}", hint="see: kubectl buildkit history ls")
        return entries[int(offset)]
    wanted = ref.rpartition("/")[2]
    exact = [entry for entry in entries if entry[1].ref == wanted]
    found = exact or [entry for entry in entries if wanted and entry[1].ref.startswith(wanted)]
    if not found:
        raise UsageError(f'there is no build "{ref}" in the history', hint="see: kubectl buildkit history ls")
    if len(found) > 1:
        names = ", ".join(record.ref for _, record in found[:3])
        raise UsageError(f'"{ref}" is the beginning of {len(found)} builds: {names}', hint="write more of the build ID")
    return found[0]
