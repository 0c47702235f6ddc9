"""What the tests of completion share: a shell's question, and nothing of this machine in its answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kubectl_build.cli.complete import complete
from kubectl_build.cli.complete_candidates import Answer

Ask = Callable[..., Answer]

DOCKERFILE = """\
# syntax=docker/dockerfile:1
ARG BASE=busybox
FROM --platform=$BUILDPLATFORM ${BASE} AS tools
ARG VERSION=1.2 NAME="two words"
from tools as \\
    program
FROM scratch
COPY --from=program / /
"""


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Asks for the candidates of the last word, in a directory that has a Dockerfile and two files."""
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "result.tar").touch()
    (tmp_path / "results").mkdir()
    monkeypatch.chdir(tmp_path)

    def run(*words: str, plugin: str = "build") -> Answer:
        return complete(plugin, words, {"KUBECONFIG": str(tmp_path / "kubeconfig")})

    return run
