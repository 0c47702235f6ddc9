"""Lists of patterns as .dockerignore has them: the rules of moby/patternmatcher v0.6.1, indexed so that thousands of patterns stay fast.

The rule (MatchesUsingParentResults): patterns are tried in order; one that matched the parent directory matches; another is tried only when
it could change the answer (a plain pattern while nothing matched, a `!` pattern while something did); the last that matched decides.
Instead of trying each, a matcher finds the few patterns that can match a path by their literal beginning or end, and applies the rule
to those.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

from kubectl_build.errors import UsageError
from kubectl_build.fsutil import globs
from kubectl_build.fsutil.gopath import BadPatternError, check_syntax, clean
from kubectl_build.fsutil.goregexp import translate
from kubectl_build.values import dataclass

Matched = tuple[int, ...]
"""Positions, ascending, of the patterns that were found to match a directory; handed on to what lies in it."""

_GO_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
_ESCAPED = frozenset(".+()$")
_OPERATORS = re.compile(r"[\\|{]")  # upstream means to escape | and { too, but its table has no room for them: they are operators
_META = re.compile(r"[*?\[\]\\]")
_META_OR_ANCHOR = re.compile(r"[*?\[\]\\^]")  # upstream leaves ^ as it is: literal in plain patterns, an anchor in regular expressions


@dataclass(frozen=True)
class Pattern:
    """One pattern, cleaned; `exclusion` when it was written with a `!`, which `text` lacks."""

    text: str
    exclusion: bool

    @cached_property
    def regexp(self) -> re.Pattern[str] | None:
        """What decides for a pattern of the general kind. None where Go could not compile it: that is an error when it is tried."""
        try:
            return translate(_go_regexp(self.text))
        except BadPatternError:
            return None

    @cached_property
    def tokens(self) -> list[str] | None:
        """What decides in place of `regexp` where that could take for ever."""
        return globs.tokens_of(self.text)

    @property
    def without_trailing_glob(self) -> str:
        """The text without a final /** and then without a final /* (fsutil, patternWithoutTrailingGlob)."""
        return self.text.removesuffix("/**").removesuffix("/*")


class PatternMatcher:
    """Decides whether paths match a list of patterns. Paths are relative, clean, with slashes."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Take the patterns as they come from a file or the daemon. Raises UsageError that quotes a malformed one."""
        self.patterns = tuple(pattern for text in patterns if (pattern := _parse(text)) is not None)
        self.exclusions = any(pattern.exclusion for pattern in self.patterns)
        self._exact: dict[str, list[int]] = {}
        self._heads: dict[int, dict[str, list[int]]] = {}
        self._tails: dict[int, dict[str, list[int]]] = {}
        self._general: set[int] = set()
        for index, pattern in enumerate(self.patterns):
            self._add(index, pattern)

    def match(self, path: str, parent: Matched = ()) -> tuple[bool, Matched]:
        """Return whether `path` matches, and what to hand on as `parent` when it is a directory.

        `parent` is what was returned for the directory that holds `path`, () in the top directory. Raises UsageError for a pattern that
        cannot be compiled, when its turn comes, as upstream does.
        """
        if parent and not self.exclusions:
            return True, parent
        candidates = self._candidates(path)
        if not candidates:
            return bool(parent) and not self.patterns[parent[-1]].exclusion, parent
        inherited = set(parent)
        matched = False
        found: list[int] = []
        for index in sorted(inherited.union(candidates)):
            pattern = self.patterns[index]
            if index not in inherited:
                if pattern.exclusion != matched:
                    continue
                if index in self._general and not _try(pattern, path):
                    continue
            found.append(index)
            matched = not pattern.exclusion
        return matched, tuple(found)

    def _add(self, index: int, pattern: Pattern) -> None:
        text = pattern.text
        first = _META.search(text)
        if first is None:
            self._exact.setdefault(text, []).append(index)
        elif text.startswith("**") and _META.search(text, 2) is None:
            _enter(self._tails, text[2:], index)
        elif text.endswith("**") and first.start() == len(text) - 2:
            _enter(self._heads, text[:-2], index)
        else:
            self._general.add(index)
            head, tail = _literal_ends(text)
            if "[" in text and pattern.regexp is None:
                head = tail = ""  # always a candidate, so that the error is told
            if tail:
                _enter(self._tails, tail, index)
            else:
                _enter(self._heads, head, index)

    def _candidates(self, path: str) -> list[int]:
        found = list(self._exact.get(path, ()))
        for length, heads in self._heads.items():
            if hit := heads.get(path[:length]):
                found += hit
        if self._tails:
            rooted = "/" + path  # so that **/name, whose end is /name, is found for name in the top directory too
            size = len(rooted)
            for length, tails in self._tails.items():
                if length <= size and (hit := tails.get(rooted[size - length :])):
                    found += hit
        return found


def _try(pattern: Pattern, path: str) -> bool:
    if pattern.tokens is not None and "\n" not in path:
        return globs.matches(pattern.tokens, path)
    if pattern.regexp is None:
        raise _bad(pattern.text, "Go's regular expressions do not accept it")
    return pattern.regexp.match(path) is not None


def _enter(table: dict[int, dict[str, list[int]]], key: str, index: int) -> None:
    table.setdefault(len(key), {}).setdefault(key, []).append(index)


def _parse(text: str) -> Pattern | None:
    stripped = text.strip(_GO_SPACE)
    if not stripped:
        return None
    cleaned = clean(stripped)
    exclusion = cleaned.startswith("!")
    if exclusion:
        cleaned = cleaned[1:]
        if not cleaned:
            raise _bad(text, "nothing follows the exclamation mark")
    try:
        check_syntax(cleaned)
    except BadPatternError as exc:
        raise _bad(text, str(exc)) from exc
    return Pattern(cleaned, exclusion)


def _bad(text: str, why: str) -> UsageError:
    return UsageError(f'pattern "{text}" is not valid: {why}', hint="correct the line in .dockerignore")


def _literal_ends(text: str) -> tuple[str, str]:
    """Return literals that every match of a general pattern begins and ends with; "" where none is sure."""
    if _OPERATORS.search(text):
        return "", ""
    metas = list(_META_OR_ANCHOR.finditer(text))
    head = text[: metas[0].start()]
    tail = text[metas[-1].end() :]
    if text[: metas[-1].end()].endswith("**"):
        tail = tail.removeprefix("/")  # the slash behind ** may match nothing
    return head, tail


def _go_regexp(text: str) -> str:
    """Return the regular expression that patternmatcher's compile() makes of a pattern."""
    out = ["^"]
    i = 0
    while i < len(text):
        char = text[i]
        i += 1
        if char == "*" and text.startswith("*", i):
            i += 1
            if text.startswith("/", i):
                i += 1
            out.append(".*" if i == len(text) else "(.*/)?")
        elif char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char in _ESCAPED:
            out.append("\\" + char)
        elif char == "\\" and i < len(text):
            out.append("\\" + text[i])
            i += 1
        else:
            out.append(char)
    return "".join(out) + "$"
