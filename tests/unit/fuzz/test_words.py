"""Patterns that a daemon or a .dockerignore has: any text, and many wildcards, in bounded time."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from kubectl_build.errors import UsageError
from kubectl_build.fsutil import globs
from kubectl_build.fsutil.filter import Filter
from kubectl_build.fsutil.goregexp import translate
from kubectl_build.fsutil.patterns import _go_regexp
from tests.unit.fuzz.effort import texts_like, tried

_PATHS = ["a", "a/b/c.txt", "a" * 60, "/".join("ab" * 20), "\u00e4/\ud800", ".git/config"]


@tried(150)
@given(texts_like("**/*.py", "!a/**", "*a*b*c?d", "a[b-d]/\\*", "x{1,2}|y", "[[:alpha:]]$"), st.sampled_from(_PATHS))
def test_pattern_of_any_text_decides_or_is_refused(pattern: str, path: str) -> None:
    with suppress(UsageError):
        Filter(include=[pattern], exclude=["a/**", f"!{pattern}"]).decide(path)


def test_many_wildcards_are_decided_at_once() -> None:
    for pattern in ("*a" * 30 + "*b", "**/a" * 30 + "/b", "*" * 3 + "?*" * 50):
        Filter(include=[pattern]).decide("a" * 200)
        Filter(include=[pattern]).decide("/".join("a" * 100))


@tried(300)
@given(
    st.lists(st.sampled_from(["*", "**", "**/", "?", "a", "b", "/", "."]), max_size=9).map("".join), st.text("ab/.", min_size=1, max_size=9)
)
def test_wildcards_match_what_regular_expressions_do(pattern: str, path: str) -> None:
    tokens = globs.tokens_of(pattern)
    if tokens is not None:
        assert globs.matches(tokens, path) == (translate(_go_regexp(pattern)).match(path) is not None)
