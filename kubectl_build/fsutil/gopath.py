"""The two functions of Go's path/filepath (Unix form) that pattern rules are defined by: Clean and Match."""

from __future__ import annotations

import re
from functools import lru_cache


class BadPatternError(ValueError):
    """The pattern's syntax is wrong. Callers turn it into an error that says where the pattern came from."""


def clean(path: str) -> str:
    """Return the shortest equivalent of `path` by text alone: no "." element, no inner "..", no doubled slash; "" becomes "."."""
    rooted = path.startswith("/")
    parts: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part != ".." or not rooted:
            parts.append(part)
    return ("/" if rooted else "") + "/".join(parts) or "."


def join(*elements: str) -> str:
    """Join and clean, skipping empty elements; later absolute elements do not reset the path (unlike os.path.join)."""
    joined = "/".join(element for element in elements if element)
    return clean(joined) if joined else ""


def has_wildcards(name: str) -> bool:
    """Tell whether `name` has an unescaped *, ? or [ (fsutil, containsWildcards)."""
    return re.search(r"[*?\[]", re.sub(r"\\.", "", name, flags=re.DOTALL)) is not None


def match(pattern: str, name: str) -> bool:
    """Tell whether `pattern` matches all of `name` under the rules of Go's filepath.Match.

    Raises BadPatternError only for the parts that it looks at: as in Go, what stands behind the first part that fails is not checked.
    """
    rest = name
    while pattern:
        star, chunk, pattern = _next_chunk(pattern)
        if star and not chunk:
            return "/" not in rest
        expression = _compile(chunk)
        longest = len(rest.partition("/")[0]) if star else 0
        for skipped in range(longest + 1):
            found = expression.match(rest, skipped)
            if found and (pattern or found.end() == len(rest)):
                rest = rest[found.end() :]
                break
        else:
            return False
    return not rest


def check_syntax(pattern: str) -> None:
    """Raise BadPatternError where patternmatcher's check does, which is filepath.Match against the name "."."""
    if "[" in pattern or "\\" in pattern:
        match(pattern, ".")


def _next_chunk(pattern: str) -> tuple[bool, str, str]:
    """Split off the stars at the beginning and what follows up to the next star outside of a class."""
    body = pattern.lstrip("*")
    star = body != pattern
    in_class = False
    i = 0
    while i < len(body):
        char = body[i]
        if char == "*" and not in_class:
            break
        if char == "\\":
            i += 1
        elif char in "[]":
            in_class = char == "["
        i += 1
    return star, body[:i], body[i:]


@lru_cache(maxsize=64)
def _compile(chunk: str) -> re.Pattern[str]:
    """Translate a chunk, which has no star outside of a class."""
    out: list[str] = []
    i = 0
    while i < len(chunk):
        char = chunk[i]
        i += 1
        if char == "?":
            out.append("[^/]")
        elif char == "[":
            text, i = _class(chunk, i)
            out.append(text)
        elif char == "\\":
            if i == len(chunk):
                raise BadPatternError("it ends in a backslash")
            out.append(re.escape(chunk[i]))
            i += 1
        else:
            out.append(re.escape(char))
    return re.compile("".join(out), re.DOTALL)


def _class(pattern: str, i: int) -> tuple[str, int]:
    """Read a character class from behind its "[" and return it in Python's syntax with the position behind its "]"."""
    negated = pattern.startswith("^", i)
    i += negated
    ranges: list[tuple[str, str]] = []
    while not (ranges and pattern.startswith("]", i)):
        low, i = _class_char(pattern, i)
        high = low
        if pattern.startswith("-", i):
            high, i = _class_char(pattern, i + 1)
        ranges.append((low, high))
    inner = "".join(f"{_hex(low)}-{_hex(high)}" for low, high in ranges if low <= high)
    if not inner:  # only backward ranges, which match nothing
        return ("." if negated else "(?!)"), i + 1
    return f"[{'^' if negated else ''}{inner}]", i + 1


def _class_char(pattern: str, i: int) -> tuple[str, int]:
    if i >= len(pattern) or pattern[i] in "-]":
        raise BadPatternError("a character class is not closed or has nothing before its - or ]")
    if pattern[i] == "\\":
        i += 1
    if i + 1 >= len(pattern):
        raise BadPatternError("a character class is not closed")
    return pattern[i], i + 1


def _hex(char: str) -> str:
    return f"\\U{ord(char):08x}"
