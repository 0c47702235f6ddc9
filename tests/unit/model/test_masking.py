"""What of a command line and of attributes is hidden from readers of a report."""

from __future__ import annotations

import pytest

from kubectl_build.model.masking import looks_secret, masked_attrs, masked_command, masked_text

_SECRETS = (
    "NPM_TOKEN token DB_PASSWORD password MY_SECRET AWS_SECRET_ACCESS_KEY API_KEY apikey SSH_PRIVATE_KEY GH_PAT build-arg:NPM_TOKEN "
    "basic-auth CREDENTIALS SIGNING_PASSPHRASE AUTHORIZATION DEPLOY_KEY"
)


@pytest.mark.parametrize("name", _SECRETS.split())
def test_masking_names_of_secrets_look_secret(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize("name", ["VERSION", "PATH", "KEYBOARD", "MONKEY", "AUTHOR", "COMPASS", "PATTERN", "GOFLAGS", "platform", "target"])
def test_masking_other_names_do_not(name: str) -> None:
    assert not looks_secret(name)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--build-arg", "NPM_TOKEN=abc"], ["--build-arg", "NPM_TOKEN=***"]),
        (["--build-arg=NPM_TOKEN=abc"], ["--build-arg=NPM_TOKEN=***"]),
        (["--build-arg", "PASSWORD=a,b=c"], ["--build-arg", "PASSWORD=***"]),
        (["--build-arg", "VERSION=1.2"], ["--build-arg", "VERSION=1.2"]),
        (["--token", "abc"], ["--token", "***"]),
        (["--token=abc"], ["--token=***"]),
        (["--password", "abc", "."], ["--password", "***", "."]),
        (["--secret", "id=key,src=./file"], ["--secret", "id=key,src=./file"]),
        (["--secret", "id=npm,env=NPM_TOKEN"], ["--secret", "id=npm,env=NPM_TOKEN"]),
        (["--cache-to", "type=s3,bucket=b,secret_access_key=abc"], ["--cache-to", "type=s3,bucket=b,secret_access_key=***"]),
        (["--cache-to=type=s3,session_token=abc,bucket=b"], ["--cache-to=type=s3,session_token=***,bucket=b"]),
        (["https://me:pw@host.example/x.git#main"], ["https://***@host.example/x.git#main"]),
        (["https://host.example/x?sig=1&token=abc"], ["https://host.example/x?sig=1&token=***"]),
        (["--registry-secret", "my-secret", "-t", "app:1"], ["--registry-secret", "my-secret", "-t", "app:1"]),
    ],
)
def test_masking_command_hides_values_and_keeps_the_rest(words: list[str], shown: list[str]) -> None:
    assert list(masked_command(words)) == shown


def test_masking_attributes_hides_build_arguments_and_logins_in_urls() -> None:
    attrs = {"build-arg:TOKEN": "abc", "build-arg:V": "1", "context": "https://u:p@host/x"}
    assert masked_attrs(attrs) == {"build-arg:TOKEN": "***", "build-arg:V": "1", "context": "https://***@host/x"}


def test_masking_attributes_hides_keys_of_caches_in_json() -> None:
    attrs = {"cache-imports": '[{"Type":"s3","Attrs":{"bucket":"b","secret_access_key":"a\\"b"}}]'}
    assert masked_attrs(attrs) == {"cache-imports": '[{"Type":"s3","Attrs":{"bucket":"b","secret_access_key":"***"}}]'}


def test_masking_text_without_a_login_stays() -> None:
    assert masked_text("a@b https://host/x@y") == "a@b https://host/x@y"
