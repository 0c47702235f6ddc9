"""What the tests of the command line share: a quiet environment, and the request that an argv becomes."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kubectl_build.cli.build import app
from kubectl_build.cli.main import run_app
from kubectl_build.model.kubeflags import KubeFlags
from kubectl_build.model.request import BuildRequest

_PREFIXES = ("AWS_", "BUILDX_", "BUILDKIT_", "DOCKER_", "ACTIONS_", "SSH_", "SOURCE_", "EXPERIMENTAL_", "GIT_", "XDG_CONFIG_")


@pytest.fixture(autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable and no file of this machine has a say."""
    for name in list(os.environ):
        if name.startswith(_PREFIXES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A context with a Dockerfile, which is the working directory too."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Sets what comes on stdin."""

    def put(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return put


@dataclass(slots=True)
class Started:
    """A build that the command line began: the request, and what else it said to the layer below."""

    request: BuildRequest
    options: dict[str, Any] = field(default_factory=dict)


@pytest.fixture
def start(context: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Started]:
    """Runs an argv up to where the build would begin. `look` is called with the request there, while its files still exist."""

    def run(*argv: str, look: Callable[[BuildRequest], None] | None = None) -> Started:
        begun: list[Started] = []

        def begin(request: BuildRequest, _cluster: KubeFlags, **options: Any) -> int:
            begun.append(Started(request, options))
            if look is not None:
                look(request)
            return 0

        monkeypatch.setattr("kubectl_build.cli.run.run_build", begin)
        monkeypatch.setattr("kubectl_build.cli.run.run_call", begin)
        assert run_app(app, "kubectl build", list(argv)) == 0
        (only,) = begun
        return only

    return run
