from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kubectl_build.builder.manifests import render
from kubectl_build.builder.spec import BuilderSpec
from kubectl_build.cli.preference import current_builder, preference_file, preferred_builder, remember_builder
from kubectl_build.cluster.client import KubeClient, open_client
from kubectl_build.cluster.resources import CONFIGMAPS
from kubectl_build.errors import ConfigError, UsageError
from kubectl_build.model.events import BuildEvent, Note
from tests.fakes.kube_api import FakeKubeApi, open_fake_kube_api


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path / "config")}


@pytest.fixture
async def api() -> AsyncIterator[FakeKubeApi]:
    async with open_fake_kube_api() as server:
        server.add(CONFIGMAPS, render("fast", "default", BuilderSpec(), ()).config_map)
        yield server


@pytest.fixture
async def kube(api: FakeKubeApi) -> AsyncIterator[KubeClient]:
    async with open_client(api.connection()) as client:
        yield client


def test_preference_is_by_context_and_namespace(environ: dict[str, str]) -> None:
    remember_builder("fast", "one", "dev", environ)
    remember_builder("big", "one", "", environ)
    remember_builder("other", "two", "dev", environ)

    assert preferred_builder("one", "dev", environ) == "fast"
    assert preferred_builder("one", "prod", environ) == "big"
    assert preferred_builder("two", "dev", environ) == "other"
    assert preferred_builder("two", "prod", environ) == ""
    assert preferred_builder("three", "dev", environ) == ""


def test_preference_file_is_in_the_configuration_directory(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")

    assert preference_file(environ) == Path(environ["XDG_CONFIG_HOME"]) / "kubectl-build" / "builders.json"
    assert preference_file({}) == Path("/home/somebody/.config/kubectl-build/builders.json")
    assert preference_file({"XDG_CONFIG_HOME": "relative"}) == preference_file({})


@pytest.mark.parametrize("text", ["", "[]", '{"one": "fast"}', '{"one": {"dev": 1}}', "\x00"])
def test_preference_malformed_file_is_a_configuration_error(environ: dict[str, str], text: str) -> None:
    file = preference_file(environ)
    file.parent.mkdir(parents=True)
    file.write_text(text)

    with pytest.raises(ConfigError, match="malformed") as raised:
        preferred_builder("one", "dev", environ)
    assert str(file) in raised.value.message


def test_preference_in_a_directory_that_cannot_be_made_is_told(environ: dict[str, str]) -> None:
    Path(environ["XDG_CONFIG_HOME"]).write_text("a file")

    with pytest.raises(UsageError, match="cannot be made"):
        remember_builder("fast", "one", "dev", environ)


def test_preference_for_a_name_that_no_builder_can_have_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="not valid"):
        remember_builder("tcp://host:1", "one", "dev", environ)
    assert not preference_file(environ).exists()


async def test_current_builder_is_what_was_said_then_buildx_builder_then_the_preferred_one(
    kube: KubeClient, environ: dict[str, str]
) -> None:
    remember_builder("fast", "fake", "default", environ)
    notes: list[BuildEvent] = []

    assert await current_builder("said", kube, emit=notes.append, environ=environ) == "said"
    assert await current_builder(None, kube, emit=notes.append, environ=environ | {"BUILDX_BUILDER": "mine"}) == "mine"
    assert await current_builder(None, kube, emit=notes.append, environ=environ) == "fast"
    assert notes == []


async def test_current_builder_preferred_but_gone_is_told_and_passed_over(kube: KubeClient, environ: dict[str, str]) -> None:
    remember_builder("gone", "fake", "default", environ)
    notes: list[BuildEvent] = []

    assert await current_builder(None, kube, emit=notes.append, environ=environ) == "buildkit"
    (note,) = notes
    assert isinstance(note, Note)
    assert '"gone"' in note.text
    assert '"buildkit"' in note.text


async def test_current_builder_without_a_preference_asks_the_cluster_nothing(
    api: FakeKubeApi, kube: KubeClient, environ: dict[str, str]
) -> None:
    assert await current_builder(None, kube, emit=lambda event: None, environ=environ) == "buildkit"
    assert api.requests == []
