"""What git says about a context, asked of real repositories."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kubectl_build.cli.vcs import VcsInfo, vcs_info
from tests.unit.cli.conftest import Started

_AS = ["-c", "user.name=n", "-c", "user.email=e@example.com", "-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false"]


def git(directory: Path, *args: str) -> str:
    run = subprocess.run(["git", *_AS, *args], cwd=directory, capture_output=True, text=True, check=True)
    return run.stdout.strip()


@pytest.fixture
def repository(context: Path) -> Path:
    git(context, "init", "-q")
    (context / "sub").mkdir()
    (context / "sub" / "f").write_text("x")
    git(context, "add", ".")
    git(context, "commit", "-q", "-m", "one")
    return context


def ask(context: Path, file: str | None = None, *, warnings: list[str] | None = None, **environ: str) -> VcsInfo:
    told: list[str] = [] if warnings is None else warnings
    found = vcs_info(
        context, file, {"context": context, "dockerfile": context, "elsewhere": Path("/")}, dict(os.environ) | environ, told.append
    )
    assert warnings is not None or told == []
    return found


def test_context_in_a_work_tree_has_its_commit_and_places(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")

    assert ask(repository).attrs == {"revision": commit, "localdir:context": ".", "localdir:dockerfile": "."}
    assert ask(repository / "sub").attrs == {"revision": commit, "localdir:context": "sub", "localdir:dockerfile": "sub"}
    assert ask(repository).labels == {}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:secret@host.example/x.git", "https://xxxxx:xxxxx@host.example/x.git"),
        ("https://token@host.example/x.git", "https://xxxxx@host.example/x.git"),
        ("https://host.example/x.git", "https://host.example/x.git"),
        ("git@host.example:me/x.git", "git@host.example:me/x.git"),
    ],
)
def test_remote_has_no_credentials(url: str, shown: str, repository: Path) -> None:
    git(repository, "remote", "add", "origin", url)

    assert ask(repository).attrs["source"] == shown


def test_remote_that_the_branch_follows_goes_before_origin_and_upstream(repository: Path) -> None:
    git(repository, "remote", "add", "upstream", "https://host.example/upstream")
    assert ask(repository).attrs["source"] == "https://host.example/upstream"
    git(repository, "remote", "add", "origin", "https://host.example/origin")
    assert ask(repository).attrs["source"] == "https://host.example/origin"
    git(repository, "remote", "add", "mine", "https://host.example/mine")
    git(repository, "config", "branch.main.remote", "mine")
    git(repository, "config", "branch.main.merge", "refs/heads/main")
    assert ask(repository).attrs["source"] == "https://host.example/mine"
    git(repository, "checkout", "-q", "--detach")
    assert ask(repository).attrs["source"] == "https://host.example/origin"


def test_changes_are_told_only_when_asked_for(repository: Path) -> None:
    (repository / "new").write_text("x")
    commit = git(repository, "rev-parse", "HEAD")

    assert ask(repository).attrs["revision"] == commit
    assert ask(repository, BUILDX_GIT_CHECK_DIRTY="1").attrs["revision"] == f"{commit}-dirty"


def test_labels_are_made_only_when_asked_for(repository: Path) -> None:
    git(repository, "remote", "add", "origin", "https://host.example/x")
    commit = git(repository, "rev-parse", "HEAD")
    expected = {"org.opencontainers.image.revision": commit, "org.opencontainers.image.source": "https://host.example/x"}

    for said in ("1", "full"):
        found = ask(repository, BUILDX_GIT_LABELS=said, BUILDX_GIT_INFO="0")
        assert found == VcsInfo(labels=expected | {"com.docker.image.source.entrypoint": "Dockerfile"})
    assert ask(repository, "sub/f", BUILDX_GIT_LABELS="1").labels["com.docker.image.source.entrypoint"] == "sub/f"
    assert ask(repository, "/f", BUILDX_GIT_LABELS="1").labels == expected


def test_repository_without_a_commit_has_places_only(context: Path) -> None:
    git(context, "init", "-q")

    assert ask(context).attrs == {"localdir:context": ".", "localdir:dockerfile": "."}


def test_git_is_not_started_outside_of_a_work_tree_or_when_switched_off(
    context: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")

    # An empty PATH has no git: asking for it would be a warning.
    assert ask(outside, PATH="") == VcsInfo()
    assert ask(repository, PATH="", BUILDX_GIT_INFO="false") == VcsInfo()


def test_git_that_is_missing_or_refuses_is_one_warning(repository: Path, context: Path) -> None:
    warnings: list[str] = []
    assert ask(repository, PATH="", warnings=warnings) == VcsInfo()
    assert warnings == ["current commit information was not captured by the build: git was not found in the system"]

    (repository / ".git" / "HEAD").unlink()
    warnings.clear()
    assert ask(repository, warnings=warnings) == VcsInfo()
    assert len(warnings) == 1


def test_request_has_what_git_says(repository: Path, start: Callable[..., Started], monkeypatch: pytest.MonkeyPatch) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    monkeypatch.setenv("BUILDX_GIT_LABELS", "true")
    (repository / "sub" / "Dockerfile").write_text("FROM scratch\n")

    request = start(".", "-f", "sub/Dockerfile", "--label", "a=b").request

    assert request.vcs == {"revision": commit, "localdir:context": ".", "localdir:dockerfile": "sub"}
    assert request.labels == {"a": "b", "org.opencontainers.image.revision": commit, "com.docker.image.source.entrypoint": "sub/Dockerfile"}
