"""Credentials of caches: from the environment and AWS's files, as docker buildx takes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubectl_build.cli.options.caches import parse_caches, with_credentials
from kubectl_build.errors import ConfigError

KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}


def credentials(text: str, environ: dict[str, str]) -> dict[str, str]:
    warnings: list[str] = []
    (entry,) = with_credentials(parse_caches("--cache-to", [text]), environ, warnings.append)
    assert warnings == []
    return {name: value for name, value in entry.attrs.items() if name not in ("bucket", "region")}


def test_s3_takes_the_keys_of_the_environment() -> None:
    assert credentials("type=s3,bucket=b,region=r", KEYS) == {"access_key_id": "id", "secret_access_key": "secret"}
    assert credentials("type=s3", KEYS | {"AWS_SESSION_TOKEN": "t"})["session_token"] == "t"


def test_s3_with_its_own_keys_is_left_alone() -> None:
    own = {"access_key_id": "a", "secret_access_key": "b"}

    assert credentials("type=s3,access_key_id=a,secret_access_key=b", KEYS | {"AWS_SESSION_TOKEN": "t"}) == own


def test_s3_takes_the_profile_of_the_files(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text("[default]\naws_access_key_id = d\naws_secret_access_key = e%\n[other]\nregion = x\n")
    (tmp_path / ".aws" / "config").write_text(
        "[default]\nregion = x\n[profile other]\naws_access_key_id=o\naws_secret_access_key=p\naws_session_token=q\n"
    )
    home = {"HOME": str(tmp_path)}

    assert credentials("type=s3", home) == {"access_key_id": "d", "secret_access_key": "e%"}
    assert credentials("type=s3", home | {"AWS_PROFILE": "other"}) == {"access_key_id": "o", "secret_access_key": "p", "session_token": "q"}
    assert credentials("type=s3", home | {"AWS_PROFILE": "none"}) == {}
    assert credentials("type=s3", home | KEYS)["access_key_id"] == "id"


def test_s3_with_files_that_are_malformed_quotes_nothing_of_them(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("hunter2")

    with pytest.raises(ConfigError) as caught:
        credentials("type=s3", {"HOME": str(tmp_path), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "f")})
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("type=gha", {"ACTIONS_CACHE_URL": "u"}, {"token": "t", "url": "u"}),
        ("type=gha", {"ACTIONS_RESULTS_URL": "r"}, {"token": "t", "url": "r"}),
        ("type=gha", {"ACTIONS_RESULTS_URL": "r", "ACTIONS_CACHE_URL": "u"}, {"token": "t", "url": "u"}),
        ("type=gha", {"ACTIONS_RESULTS_URL": "r", "ACTIONS_CACHE_SERVICE_V2": "true"}, {"token": "t", "url": "r", "url_v2": "r"}),
        ("type=gha,version=2", {"ACTIONS_RESULTS_URL": "r"}, {"token": "t", "url": "r", "url_v2": "r", "version": "2"}),
        ("type=gha,token=x,url=y,scope=z", {"ACTIONS_CACHE_URL": "u"}, {"token": "x", "url": "y", "scope": "z"}),
    ],
)
def test_gha_takes_token_and_address_of_the_workflow(text: str, environ: dict[str, str], expected: dict[str, str]) -> None:
    assert credentials(text, {"ACTIONS_RUNTIME_TOKEN": "t"} | environ) == expected


def test_gha_outside_of_github_is_left_out_with_a_warning() -> None:
    warnings: list[str] = []

    assert with_credentials(parse_caches("--cache-from", ["type=gha"]), {"ACTIONS_CACHE_URL": "u"}, warnings.append) == ()
    assert len(warnings) == 1


def test_caches_of_other_kinds_get_nothing() -> None:
    for text in ("type=azblob,name=a", "type=registry,ref=a", "type=inline"):
        assert credentials(text, KEYS).keys() <= {"name", "ref"}


def test_credentials_are_not_in_the_representation_of_a_cache() -> None:
    (entry,) = parse_caches("--cache-to", ["type=s3,secret_access_key=hunter2"])

    assert "hunter2" not in repr(entry)
