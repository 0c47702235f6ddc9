"""Patterns and walks compared with moby's own libraries over generated input."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubectl_build.errors import UsageError
from kubectl_build.fsutil.filter import make_filter
from kubectl_build.fsutil.patterns import Matched, PatternMatcher
from kubectl_build.fsutil.stat import Stat
from kubectl_build.fsutil.walk import walk
from tests.unit.fsutil.conftest import Oracle

_NAMES = ["a", "b", "ab", "a.b", "foo", "é", "^", "*", "[", "]", "-", "1", "a b", "x$", "{a}", "\\"]
_PIECES = [
    *"ab*?/!.^-$ 1{}()+|",
    "**",
    "**/",
    "/**",
    "/*",
    "*.",
    "{2}",
    "{0,1}",
    "{,2}",
    "{2,1}",
    "{1,}",
    "foo",
    "é",
    "..",
    "./",
    "[ab]",
    "[^a]",
    "[a-c]",
    "[c-a]",
    "[]a]",
    "[a*]",
    "[[:alpha:]]",
    "[[:^digit:]]",
    "[\\]a]",
    "[",
    "]",
    "\\",
    "\\*",
    "\\d",
    "\\D",
    "\\x41",
    "\\141",
    "\\b",
    "\\Q",
    "\\z",
    "\\e",
    "\u00a0",
]

_patterns = st.lists(st.lists(st.sampled_from(_PIECES), min_size=1, max_size=6).map("".join), min_size=1, max_size=6)
_paths = st.lists(st.lists(st.sampled_from(_NAMES), min_size=1, max_size=4).map("/".join), min_size=1, max_size=8)
_ordinary = st.lists(
    st.lists(st.sampled_from(["a", "b", "ab", "*", "**", "?", "a*", "*b", "[ab]", ".."]), min_size=1, max_size=4).flatmap(
        lambda parts: st.sampled_from(["", "!", "/", " "]).map(lambda before: before + "/".join(parts))
    ),
    max_size=6,
)
_settings = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _decide(matcher: PatternMatcher, path: str) -> bool:
    matched, parent = False, Matched()
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        matched, parent = matcher.match("/".join(parts[:count]), parent)
    return matched


@given(patterns=st.one_of(_patterns, _ordinary), paths=_paths)
@_settings
def test_matcher_over_generated_patterns_agrees_with_moby(oracle: Oracle, patterns: list[str], paths: list[str]) -> None:
    expected = oracle.ask(Exclude=patterns, Paths=paths)

    try:
        matcher = PatternMatcher(patterns)
        found = [_decide(matcher, path) for path in paths]
    except UsageError:
        assert expected["error"]
    else:
        assert (found, "") == (expected["matches"], expected["error"])


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with every kind of entry, and links that lead around in it."""
    root = tmp_path_factory.mktemp("tree")
    for directory in ("a/a/b", "a/b/a", "b/a/ab", "ab/b", "a-b/b", "b/b/b/b", "é/a"):
        (root / directory).mkdir(parents=True)
        for name in ("a", "b", "ab", "x.b", "a b", "ü"):
            path = root / directory / name
            if not path.exists():
                path.write_text(f"{directory}/{name}")
    for name, target in {"l1": "a/b", "l2": "/b/a", "l3": "l1", "a/l4": "../b", "loop": "loop", "out": "../../etc", "dead": "none"}.items():
        (root / name).symlink_to(target)
    os.link(root / "a/a/b/ab", root / "a/hard")
    os.link(root / "a/a/b/ab", root / "b/hard")
    os.mkfifo(root / "b/fifo")
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(root)  # a socket's path must be short
        try:
            server.bind("sock")
        finally:
            os.chdir(before)
    (root / "a/a/b/a").chmod(0o4755)
    (root / "b").chmod(0o1777)
    if hasattr(os, "setxattr"):
        os.setxattr(root / "ab/b/a", "user.kind", b"value")
    return root


def _as_moby(stat: Stat) -> dict[str, Any]:
    found: dict[str, Any] = {"path": stat.path, "mode": stat.mode, "size": stat.size, "modTime": stat.mod_time}
    if stat.linkname:
        found["linkname"] = stat.linkname
    if stat.xattrs:
        found["xattrs"] = sorted(stat.xattrs)
    return {key: value for key, value in found.items() if value}


def _expected(entry: dict[str, Any]) -> dict[str, Any]:
    result = {key: value for key, value in entry.items() if key not in ("uid", "gid")}
    if "xattrs" in result:
        result["xattrs"] = sorted(result["xattrs"])
    return result


_follow = st.lists(
    st.lists(st.sampled_from(["a", "b", "l1", "l2", "l3", "l4", "loop", "out", "dead", "*", "l*", "[", ".."]), min_size=1, max_size=3)
    .map("/".join)
    .filter(lambda path: not os.path.normpath(path).startswith("..")),  # what leads out of the root is an error there, nothing here
    max_size=3,
)


@given(include=_ordinary, exclude=_ordinary, follow=_follow)
@_settings
def test_walk_over_generated_filters_sends_what_fsutil_sends(
    oracle: Oracle, tree: Path, include: list[str], exclude: list[str], follow: list[str]
) -> None:
    expected = oracle.ask(Root=str(tree), Include=include or None, Exclude=exclude or None, Follow=follow or None)

    try:
        selected = make_filter(str(tree), include=include, exclude=exclude, follow=follow)
        found = [_as_moby(stat) for stat in walk(str(tree), selected)]
    except UsageError:
        assert expected["error"]
    else:
        assert not expected["error"]
        assert found == [_expected(entry) for entry in expected["entries"]]


@given(names=st.lists(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=6), max_size=12, unique=True))
@settings(max_examples=50, deadline=None)
def test_walk_over_generated_names_has_the_order_of_fsutil(oracle: Oracle, names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as root:
        for name in names:
            if name not in (".", ".."):
                Path(root, name).mkdir()
                Path(root, name, "x").touch()
        expected = oracle.ask(Root=root)

        found = [stat.path for stat in walk(root, make_filter(root, include=[], exclude=[], follow=[]))]

        assert found == [entry["path"] for entry in expected["entries"]]
