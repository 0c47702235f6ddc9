from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kubectl_build.session import shared_key
from kubectl_build.session.shared_key import context_key, session_shared_key

_T = 1_700_000_000_000_000_000


def _tree(root: Path, *, names: tuple[str, ...] = ("Dockerfile", "main.py", "src/a", "src/b")) -> Path:
    """A tree whose files all have different times."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("content")
        os.utime(path, ns=(_T + number, _T + number))
    return root


def _git(root: Path, url: str, *, remote: str = "origin") -> None:
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    subprocess.run(["git", "-C", str(root), "remote", "add", remote, url], check=True)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an ID of its own."""
    path = tmp_path / "machine-id"
    path.write_text("one\n")
    monkeypatch.setattr(shared_key, "_MACHINE_ID_FILES", (str(path),))
    return path


@pytest.mark.parametrize("other", ["elsewhere/app", "renamed"])
def test_copy_with_its_times_has_the_same_key(tmp_path: Path, other: str) -> None:
    _tree(tmp_path / "app")
    shutil.copytree(tmp_path / "app", tmp_path / other, symlinks=True)

    assert session_shared_key(tmp_path / other, {}) == session_shared_key(tmp_path / "app", {})


def test_edit_keeps_the_key(tmp_path: Path) -> None:
    before = session_shared_key(_tree(tmp_path / "app"), {})
    (tmp_path / "app" / "src" / "a").write_text("edited")
    (tmp_path / "app" / "src" / "new").write_text("new")
    (tmp_path / "app" / ".swap").write_text("an editor's")

    assert session_shared_key(tmp_path / "app", {}) == before


def test_directories_with_other_names_in_them_have_other_keys(tmp_path: Path) -> None:
    assert context_key(_tree(tmp_path / "x" / "app")) != context_key(_tree(tmp_path / "y" / "app", names=("Dockerfile", "main.go")))


def test_clones_of_one_repository_share_keys_by_subdirectory(tmp_path: Path) -> None:
    for clone in ("one", "two"):
        _tree(tmp_path / clone)
        _git(tmp_path / clone, "https://host.example/team/app.git")
    (tmp_path / "two" / "extra").touch()

    assert context_key(tmp_path / "one") == context_key(tmp_path / "two")
    assert context_key(tmp_path / "one" / "src") == context_key(tmp_path / "two" / "src")
    assert context_key(tmp_path / "one") != context_key(tmp_path / "one" / "src")


def test_login_in_the_remote_does_not_matter(tmp_path: Path) -> None:
    for clone, url in (("one", "https://host.example/app.git"), ("two", "https://me:token@host.example/app.git")):
        _git(_tree(tmp_path / clone), url)

    assert context_key(tmp_path / "one") == context_key(tmp_path / "two")


def test_other_remote_is_another_key(tmp_path: Path) -> None:
    for clone, url in (("one", "https://host.example/one.git"), ("two", "https://host.example/two.git")):
        _git(_tree(tmp_path / clone), url, remote="upstream")

    assert context_key(tmp_path / "one") != context_key(tmp_path / "two")


def test_linked_work_tree_has_the_repositorys_key(tmp_path: Path) -> None:
    repository = _tree(tmp_path / "one")
    _git(repository, "https://host.example/app.git")
    identity = ["-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run(["git", "-C", str(repository), *identity, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    subprocess.run(["git", "-C", str(repository), "worktree", "add", "-q", str(tmp_path / "linked")], check=True)

    assert context_key(tmp_path / "linked") == context_key(repository)


def test_other_machine_is_another_key_but_not_in_ci(tmp_path: Path, machine: Path) -> None:
    tree = _tree(tmp_path / "app")
    here, in_ci = session_shared_key(tree, {}), session_shared_key(tree, {"CI": "true"})
    machine.write_text("two\n")

    assert session_shared_key(tree, {}) != here
    assert session_shared_key(tree, {"CI": "true"}) == in_ci


@pytest.mark.parametrize("time", [0, 1, 631_151_999_000_000_000])
def test_old_time_makes_contents_part_of_the_key(tmp_path: Path, time: int) -> None:
    tree = _tree(tmp_path / "app")
    os.utime(tree / "main.py", ns=(time, time))
    before = session_shared_key(tree, {})
    (tree / "main.py").write_text("CONTENT")
    os.utime(tree / "main.py", ns=(time, time))

    assert session_shared_key(tree, {}) != before


def test_time_shared_by_more_than_a_tenth_makes_contents_part_of_the_key(tmp_path: Path) -> None:
    names = tuple(f"f{number}" for number in range(20))
    for shared, matters in ((2, False), (3, True)):
        tree = _tree(tmp_path / str(shared), names=names)
        for name in names[:shared]:
            os.utime(tree / name, ns=(_T, _T))
        before = session_shared_key(tree, {})
        (tree / "f1").write_text("CONTENT")
        os.utime(tree / "f1", ns=(_T, _T))

        assert (session_shared_key(tree, {}) != before) is matters


def test_old_files_that_are_ignored_do_not_matter(tmp_path: Path) -> None:
    tree = _tree(tmp_path / "app")
    (tree / "node_modules").mkdir()
    (tree / "node_modules" / "x").write_text("x")
    os.utime(tree / "node_modules" / "x", ns=(0, 0))
    (tree / ".dockerignore").write_text("# comment\n/node_modules\n")
    os.utime(tree / ".dockerignore", ns=(_T + 99, _T + 99))
    before = session_shared_key(tree, {})
    (tree / "node_modules" / "x").write_text("y")
    os.utime(tree / "node_modules" / "x", ns=(0, 0))

    assert session_shared_key(tree, {}) == before


def test_directory_that_is_missing_has_a_key() -> None:
    assert len(session_shared_key("/does/not/exist", {})) == 32
