from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubectl_build.errors import UsageError
from kubectl_build.fsutil.filter import Filter
from kubectl_build.fsutil.patterns import PatternMatcher
from kubectl_build.fsutil.walk import walk


def _paths(root: Path, *exclude: str) -> list[str]:
    return [stat.path for stat in walk(str(root), Filter(exclude=exclude))]


@contextlib.contextmanager
def _ordinary_user() -> Iterator[None]:
    """Root reads everything, so be somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for directory in (tmp_path, *list(tmp_path.parents)[:3]):  # pytest makes them for itself alone, one more for each worker
        directory.chmod(0o755)
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "x").touch()
    (tmp_path / "open").touch()
    (tmp_path / "closed").chmod(0)
    return tmp_path


def test_walk_of_a_directory_that_cannot_be_read_names_it(tree: Path) -> None:
    with _ordinary_user(), pytest.raises(UsageError, match=r'closed" cannot be read: permission denied'):
        _paths(tree)


@pytest.mark.parametrize("exclude", [("closed",), ("clo*",), ("closed", "!closed/*/y")])
def test_walk_of_a_directory_that_cannot_be_read_but_is_excluded_skips_it(tree: Path, exclude: tuple[str, ...]) -> None:
    with _ordinary_user():
        assert _paths(tree, *exclude) == ["open"]


def test_walk_of_a_missing_directory_names_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such directory"):
        _paths(tmp_path / "none")


def test_walk_over_what_vanishes_skips_it(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").touch()
    entries = walk(str(tmp_path), Filter())
    assert next(entries).path == "a"
    (tmp_path / "b" / "x").unlink()
    (tmp_path / "b").rmdir()

    assert [stat.path for stat in entries] == ["a/x", "c", "c/x"]


def test_walk_over_a_name_that_is_not_utf8_names_it_unless_excluded(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff")).touch()
    with pytest.raises(UsageError, match=r"bad\\xff"):
        _paths(tmp_path)

    assert _paths(tmp_path, "bad*") == []


def test_walk_with_an_exception_below_an_excluded_directory_sends_the_directory_late(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("a/0", "a/b/keep", "a/b/lose", "a/z"):
        (tmp_path / name).touch()

    assert _paths(tmp_path, "a", "!a/b/keep") == ["a", "a/b", "a/b/keep"]


def test_pattern_that_is_malformed_is_quoted() -> None:
    with pytest.raises(UsageError, match=r'pattern "a\[" is not valid'):
        PatternMatcher(["[a", "a["][1:])


@pytest.mark.parametrize("pattern", ["!", "[z-a]x", "\\p{L}"])
def test_pattern_that_go_or_this_client_does_not_accept_is_an_error(pattern: str) -> None:
    with pytest.raises(UsageError, match="is not valid"):
        PatternMatcher([pattern]).match("x")
