"""What the values of model say for themselves, beyond what the oracles compare."""

from __future__ import annotations

import pytest

from kubectl_build.errors import UsageError
from kubectl_build.model.credentials import Credentials
from kubectl_build.model.platform import Platform, native_architecture, parse_platform, parse_platforms, runs_on
from kubectl_build.model.reference import parse_reference
from kubectl_build.model.request import Output, OutputType


@pytest.mark.parametrize("text", ["linux/", "a/b/c/d", "li nux/amd64", "windows(%zz)/amd64", "windows(%ff)/amd64", "toaster"])
def test_parse_platform_of_bad_text_quotes_it_and_shows_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_platform(text)

    assert caught.value.message.startswith(f'platform "{text}" is not valid: ')
    assert "linux/amd64" in (caught.value.hint or "")


@pytest.mark.parametrize("text", ["", "App", "a b", "app:", "f" * 64, "app@sha256:" + "0" * 63, "app@md5:" + "0" * 32, "a" * 256])
def test_parse_reference_of_bad_text_quotes_it_and_shows_the_form(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_reference(text)

    assert caught.value.message.startswith(f'image reference "{text}" is not valid: ')
    assert "ghcr.io/me/app:1.0" in (caught.value.hint or "")


def test_parse_platforms_keeps_order_drops_duplicates_and_knows_local() -> None:
    local = Platform("linux", "s390x")

    parsed = parse_platforms(["linux/arm64, linux/x86_64", "local", "linux/aarch64", "linux/amd64/v1"], local=local)

    assert parsed == (Platform("linux", "arm64"), Platform("linux", "amd64"), local)


def test_parse_platforms_with_an_empty_item_is_refused() -> None:
    with pytest.raises(UsageError, match='platform "" is not valid'):
        parse_platforms(["linux/amd64,"])


def test_parse_platform_of_a_lone_system_takes_the_default_architecture() -> None:
    assert parse_platform("linux", default_arch="arm64") == Platform("linux", "arm64")


@pytest.mark.parametrize(
    ("platform", "architecture", "arm32", "runs"),
    [
        ("linux/amd64", "amd64", False, True),
        ("linux/386", "amd64", False, True),
        ("linux/arm64", "amd64", False, False),
        ("linux/arm/v7", "arm64", False, False),
        ("linux/arm/v7", "arm64", True, True),
        ("linux/amd64", "arm64", True, False),
        ("windows/amd64", "amd64", False, False),
    ],
)
def test_runs_on_tells_what_a_node_runs_without_an_emulator(platform: str, architecture: str, arm32: bool, runs: bool) -> None:
    assert runs_on(parse_platform(platform), architecture, arm32=arm32) is runs


def test_native_architecture_of_386_is_amd64() -> None:
    assert native_architecture(parse_platform("linux/386")) == "amd64"
    assert native_architecture(parse_platform("linux/s390x")) == "s390x"


def test_credentials_in_a_repr_show_nothing() -> None:
    shown = repr(Credentials(username="me", secret="hidden", registry_token="hidden"))

    assert shown == "Credentials(...)"
    assert "hidden" not in f"{[Credentials(username='me', secret='hidden')]}"


@pytest.mark.parametrize(("mode", "mirrors"), [("delete", True), (" DELETE ", True), ("copy", False), ("", False)])
def test_local_output_mirrors_for_whatever_the_daemon_takes_for_delete(mode: str, mirrors: bool) -> None:
    assert Output(type=OutputType.LOCAL, attrs={"mode": mode}, dest="out").mirrors is mirrors
    assert not Output(type=OutputType.TAR, attrs={"mode": mode}, dest="out").mirrors
