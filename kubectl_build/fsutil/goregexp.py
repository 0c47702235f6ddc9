"""Regular expressions in Go's syntax, as far as moby/patternmatcher makes them from patterns, translated to Python's.

The matcher pastes a pattern's classes and escapes into a regular expression as they are, so `[[:digit:]]`, `\\d` or `\\x41` in a
.dockerignore mean what Go's regexp package makes of them. Unicode classes (\\p) alone are not supported; they raise BadPatternError like a
wrong one.
"""

from __future__ import annotations

import re

from kubectl_build.fsutil.gopath import BadPatternError

_Ranges = list[tuple[int, int]]
_LAST = 0x10FFFF
_REPETITION = re.compile(r"\{(0|[1-9][0-9]*)(,(0|[1-9][0-9]*)?)?\}", re.ASCII)
_MOST_REPEATS = 1000
_ANYWHERE = "(?s:.*?)"
_CONTROL = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def _of(text: str) -> _Ranges:
    return [(ord(text[i]), ord(text[i + 1])) for i in range(0, len(text), 2)]


_PERL: dict[str, _Ranges] = {"d": _of("09"), "s": _of("\t\n\f\r  "), "w": _of("09AZ__az")}
_POSIX: dict[str, _Ranges] = {
    "alnum": _of("09AZaz"),
    "alpha": _of("AZaz"),
    "ascii": _of("\x00\x7f"),
    "blank": _of("\t\t  "),
    "cntrl": _of("\x00\x1f\x7f\x7f"),
    "digit": _of("09"),
    "graph": _of("!~"),
    "lower": _of("az"),
    "print": _of(" ~"),
    "punct": _of("!/:@[`{~"),
    "space": _of("\t\r  "),
    "upper": _of("AZ"),
    "word": _of("09AZ__az"),
    "xdigit": _of("09AFaf"),
}


def translate(expression: str) -> re.Pattern[str]:
    """Compile `expression` so that Python's match() finds what Go's MatchString finds. Raises BadPatternError."""
    out: list[str] = []
    search = ""
    i = 0
    while i < len(expression):
        char = expression[i]
        if char == "[":
            text, i = _class(expression, i + 1)
        elif char == "\\":
            text, i = _escape(expression, i + 1)
        elif char == "$":
            text, i = r"\Z", i + 1
        elif char == "^":
            text, i = "(?:^)", i + 1  # Python would not repeat a bare one
        elif char == "{" and (repetition := _REPETITION.match(expression, i)):
            text, i = _repeat(repetition), repetition.end()
            search = _ANYWHERE  # ^ may have been repeated zero times
        elif char == "|":
            text, i = char, i + 1
            search = _ANYWHERE  # a second alternative is not bound to the beginning
        elif char in ".()?*":
            text, i = char, i + 1
        else:
            text, i = re.escape(char), i + 1
        out.append(text)
    try:
        return re.compile(f"{search}(?:{''.join(out)})", re.ASCII)
    except re.error as exc:
        raise BadPatternError(str(exc)) from exc


def _repeat(repetition: re.Match[str]) -> str:
    low, high = int(repetition[1]), int(repetition[3] or repetition[1])
    if max(low, high) > _MOST_REPEATS or low > high:
        raise BadPatternError(f'"{repetition.group()}" is not a repetition that is supported')
    return repetition.group()


def _escape(expression: str, i: int) -> tuple[str, int]:
    """Translate an escape outside of a class; `i` is behind the backslash."""
    char = expression[i : i + 1]
    if char in ("A", "b", "B"):
        return f"(?:\\{char})", i + 1
    if char == "z":
        return r"(?:\Z)", i + 1
    if char == "Q":
        end = expression.find(r"\E", i)
        literal, after = (expression[i + 1 :], len(expression)) if end < 0 else (expression[i + 1 : end], end + 2)
        return re.escape(literal), after
    if char and char.lower() in _PERL:
        return _render(_perl(char), negated=False), i + 1
    code, i = _escaped_char(expression, i)
    return re.escape(chr(code)), i


def _escaped_char(expression: str, i: int) -> tuple[int, int]:
    """Read what follows a backslash as one character; return its code and the position behind it."""
    char = expression[i : i + 1]
    if not char:
        raise BadPatternError("it ends in a backslash")
    if char in _CONTROL:
        return ord(_CONTROL[char]), i + 1
    if octal := re.compile(r"0[0-7]{0,2}|[1-7][0-7]{1,2}").match(expression, i):
        return int(octal.group(), 8), octal.end()
    if hexadecimal := re.compile(r"x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]+)\})").match(expression, i):
        code = int(hexadecimal.group(1) or hexadecimal.group(2), 16)
        if code <= _LAST:
            return code, hexadecimal.end()
    elif char.isascii() and not char.isalnum():
        return ord(char), i + 1
    raise BadPatternError(f'"\\{char}" is not an escape sequence that is supported')


def _class(expression: str, i: int) -> tuple[str, int]:
    """Translate a class; `i` is behind its "["."""
    negated = expression.startswith("^", i)
    i += negated
    ranges: _Ranges = []
    first = True
    while first or not expression.startswith("]", i):
        first = False
        if named := re.compile(r"\[:(\^?)(.*?):\]", re.DOTALL).match(expression, i):
            if named.group(2) not in _POSIX:
                raise BadPatternError(f'"{named.group()}" is not a character class')
            found = _POSIX[named.group(2)]
            ranges += _complement(found) if named.group(1) else found
            i = named.end()
        elif expression.startswith("\\", i) and expression[i + 1 : i + 2].lower() in _PERL:
            ranges += _perl(expression[i + 1])
            i += 2
        else:
            low, i = _class_char(expression, i)
            high = low
            if expression.startswith("-", i) and i + 1 < len(expression) and expression[i + 1] != "]":
                high, i = _class_char(expression, i + 1)
            if high < low:
                raise BadPatternError("a range in a character class runs backward")
            ranges.append((low, high))
    return _render(ranges, negated=negated), i + 1


def _class_char(expression: str, i: int) -> tuple[int, int]:
    if i >= len(expression):
        raise BadPatternError("a character class is not closed")
    if expression[i] == "\\":
        return _escaped_char(expression, i + 1)
    return ord(expression[i]), i + 1


def _perl(letter: str) -> _Ranges:
    found = _PERL[letter.lower()]
    return found if letter.islower() else _complement(found)


def _complement(ranges: _Ranges) -> _Ranges:
    result: _Ranges = []
    start = 0
    for low, high in sorted(ranges):
        if low > start:
            result.append((start, low - 1))
        start = high + 1
    result.append((start, _LAST))
    return result


def _render(ranges: _Ranges, *, negated: bool) -> str:
    inner = "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in ranges)
    return f"[{'^' if negated else ''}{inner}]"
