"""Docker's configuration and helpers: real files, real programs, and docker's own library as the judge."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from kubectl_build.credentials.docker_config import DockerConfigKeychain
from kubectl_build.credentials.helper import ask_helper
from kubectl_build.errors import ConfigError
from kubectl_build.model.credentials import Credentials
from tests.oracles.build import ask


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def shown(credentials: Credentials | None) -> tuple[str, str, str] | None:
    """What a login is made of; the login itself shows nothing."""
    return None if credentials is None else (credentials.username, credentials.secret, credentials.registry_token)


class Home:
    """A directory with a docker config and helpers of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environ = {"HOME": str(path), "PATH": str(path / "bin")}
        (path / "bin").mkdir()

    def write(self, config: object, folder: str = ".docker") -> None:
        text = config if isinstance(config, str) else json.dumps(config)
        (self.path / folder).mkdir(exist_ok=True)
        (self.path / folder / "config.json").write_text(text)

    def helper(self, name: str, code: str) -> None:
        """A docker-credential-NAME that runs `code` with the server in `server`, and counts its runs."""
        program = self.path / "bin" / f"docker-credential-{name}"
        runs = self.path / f"{name}.runs"
        program.write_text(
            f"#!{sys.executable} -S\nimport json, sys\nserver = sys.stdin.read()\n"
            f"open({str(runs)!r}, 'a').write(' '.join(sys.argv[1:]) + ' ' + server + '\\n')\n{code}\n"
        )
        program.chmod(0o755)

    def runs(self, name: str) -> list[str]:
        runs = self.path / f"{name}.runs"
        return runs.read_text().splitlines() if runs.exists() else []

    async def resolve(self, host: str, repository: str = "") -> tuple[str, str, str] | None:
        return shown(await DockerConfigKeychain(self.environ).resolve(host, repository))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"auth": encoded("me:pa:ss")}, ("me", "pa:ss", "")),
        ({"auth": encoded("me:pass").rstrip("=")}, ("me", "pass", "")),
        ({"auth": encoded("me:pass\0\0")}, ("me", "pass", "")),
        ({"username": "me", "password": "pass"}, ("me", "pass", "")),
        ({"auth": encoded("a:b"), "username": "me", "password": "pass"}, ("a", "b", "")),
        ({"auth": encoded("0000:"), "identitytoken": "id"}, ("", "id", "")),
        ({"registrytoken": "ready"}, ("", "", "ready")),
        ({}, None),
        (None, None),
        ({"password": "pass"}, None),
        ({"email": "me@example.com"}, None),
    ],
)
async def test_resolve_reads_every_form_of_an_entry(home: Home, entry: object, expected: object) -> None:
    home.write({"auths": {"reg.example": entry}})

    assert await home.resolve("reg.example") == expected


async def test_resolve_without_a_file_finds_nothing(home: Home) -> None:
    assert await home.resolve("reg.example") is None
    assert await DockerConfigKeychain({**home.environ, "DOCKER_CONFIG": str(home.path / "missing")}).resolve("reg.example") is None


@pytest.mark.parametrize("text", ["", "\n", "{}", '{"auths": null}', '{"auths": {}, "proxies": {}}'])
async def test_resolve_of_a_config_without_logins_finds_nothing(home: Home, text: str) -> None:
    home.write(text)

    assert await home.resolve("reg.example") is None


async def test_docker_config_names_another_folder(home: Home) -> None:
    home.write({"auths": {"reg.example": {"auth": encoded("home:1")}}})
    home.write({"auths": {"reg.example": {"auth": encoded("other:2")}}}, "elsewhere")
    home.environ["DOCKER_CONFIG"] = str(home.path / "elsewhere")

    assert await home.resolve("reg.example") == ("other", "2", "")


async def test_docker_auth_config_goes_before_the_file(home: Home) -> None:
    home.write({"auths": {"reg.example": {"auth": encoded("file:1")}, "b.example": {"auth": encoded("file:2")}}})
    home.environ["DOCKER_AUTH_CONFIG"] = json.dumps({"auths": {"reg.example": {"auth": encoded("variable:3")}}})

    assert await home.resolve("reg.example") == ("variable", "3", "")
    assert await home.resolve("b.example") == ("file", "2", "")


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "is not valid JSON: Expecting property name enclosed in double quotes at line 1 column 2"),
        ("[]", "is not a JSON object"),
        ('{"auths": []}', 'has "auths" that is not an object'),
        ({"auths": {"reg.example": SECRET}}, 'has an entry for "reg.example" that is not an object'),
        ({"auths": {"reg.example": {"auth": SECRET + "!"}}}, 'has an entry for "reg.example" whose "auth" is not base64'),
        ({"auths": {"reg.example": {"auth": encoded(SECRET)}}}, 'whose "auth" is not the base64 of user:password'),
        ({"auths": {"reg.example": {"auth": encoded(":" + SECRET)}}}, 'whose "auth" is not the base64 of user:password'),
        ({"auths": {"reg.example": {"password": [SECRET]}}}, 'whose "password" is not a string'),
        ({"credHelpers": [SECRET]}, 'has "credHelpers" or "credsStore" that do not name programs'),
        ({"credsStore": 1}, 'has "credHelpers" or "credsStore" that do not name programs'),
    ],
)
async def test_resolve_of_a_malformed_config_names_the_file_and_no_secret(home: Home, config: object, message: str) -> None:
    home.write(config)
    with pytest.raises(ConfigError) as caught:
        await home.resolve("reg.example")

    assert caught.value.message.startswith(f'docker config "{home.path / ".docker" / "config.json"}" ')
    assert message in caught.value.message
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r}"


async def test_resolve_of_a_config_that_cannot_be_read_names_it(home: Home) -> None:
    (home.path / ".docker" / "config.json").mkdir(parents=True)

    with pytest.raises(ConfigError, match=r'config\.json" cannot be read: Is a directory'):
        await home.resolve("reg.example")


async def test_resolve_of_a_malformed_variable_names_it(home: Home) -> None:
    home.environ["DOCKER_AUTH_CONFIG"] = "{"

    with pytest.raises(ConfigError, match="DOCKER_AUTH_CONFIG is not valid JSON"):
        await home.resolve("reg.example")


LOGIN = "print(json.dumps({'ServerURL': server, 'Username': 'me', 'Secret': 'for ' + server}))"


async def test_helper_of_a_host_is_asked_before_the_store(home: Home) -> None:
    home.write({"credHelpers": {"reg.example": "one", "docker.io": "one"}, "credsStore": "two", "auths": {"reg.example": {}}})
    home.helper("one", LOGIN)
    home.helper("two", LOGIN)

    assert await home.resolve("reg.example") == ("me", "for reg.example", "")
    assert await home.resolve("other.example:5000") == ("me", "for other.example:5000", "")
    assert await home.resolve("registry-1.docker.io") == ("me", "for https://index.docker.io/v1/", "")
    assert home.runs("one") == ["get reg.example", "get https://index.docker.io/v1/"]
    assert home.runs("two") == ["get other.example:5000"]


async def test_helper_with_a_token_user_gives_an_identity_token(home: Home) -> None:
    home.write({"credsStore": "one"})
    home.helper("one", "print(json.dumps({'Username': '<token>', 'Secret': 'id'}))")

    assert await home.resolve("reg.example") == ("", "id", "")


@pytest.mark.parametrize(
    "code",
    [
        "print('credentials not found in native keychain'); sys.exit(1)",
        "print('no credentials server URL'); sys.exit(1)",
        "print(json.dumps({'Username': '', 'Secret': ''}))",
    ],
)
async def test_helper_without_a_login_leaves_it_to_the_file(home: Home, code: str) -> None:
    home.write({"credsStore": "one", "auths": {"reg.example": {"auth": encoded("file:1")}}})
    home.helper("one", code)

    assert await home.resolve("reg.example") == ("file", "1", "")
    assert await home.resolve("other.example") is None


async def test_helper_is_asked_once_for_a_host(home: Home) -> None:
    home.write({"credsStore": "one"})
    home.helper("one", LOGIN)
    keychain = DockerConfigKeychain(home.environ)

    first, second = await keychain.resolve("reg.example"), await keychain.resolve("reg.example", "team/app")

    assert first == second
    assert first is not None
    assert home.runs("one") == ["get reg.example"]


async def test_helper_that_is_missing_is_named(home: Home) -> None:
    home.write({"credsStore": "desktop"})
    with pytest.raises(ConfigError) as caught:
        await home.resolve("reg.example")

    assert caught.value.message == (
        f'the credential helper "docker-credential-desktop" that {home.path}/.docker/config.json names for reg.example is not in PATH'
    )


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('keychain is\\nlocked'); sys.exit(3)", "failed for reg.example with exit code 3: keychain is locked"),
        ("sys.stderr.write('boom'); sys.exit(1)", "failed for reg.example with exit code 1: boom"),
        ("sys.exit(1)", "failed for reg.example with exit code 1: it said nothing"),
        (f"print('{SECRET}')", "answered something that is not a login for reg.example"),
        (f"print(json.dumps(['{SECRET}']))", "answered something that is not a login for reg.example"),
        (f"print(json.dumps({{'Username': 1, 'Secret': '{SECRET}'}}))", "answered something that is not a login for reg.example"),
    ],
)
async def test_helper_that_fails_says_what_it_said_and_no_secret(home: Home, code: str, message: str) -> None:
    home.write({"credsStore": "one"})
    home.helper("one", code)
    with pytest.raises(ConfigError) as caught:
        await home.resolve("reg.example")

    assert caught.value.message == f'the credential helper "docker-credential-one" {message}'
    assert SECRET not in repr(caught.value)


async def test_helper_that_cannot_be_started_is_named(home: Home) -> None:
    program = home.path / "bin" / "docker-credential-one"
    program.write_text("#!/nowhere/at/all\n")
    program.chmod(0o755)
    home.write({"credsStore": "one"})

    with pytest.raises(ConfigError, match="cannot be started: No such file or directory"):
        await home.resolve("reg.example")


async def test_helper_that_never_answers_is_ended(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECTL_BUILD_DEADLINES", "helper=200ms")
    home.helper("one", "import time; time.sleep(600)")

    with pytest.raises(ConfigError, match=r'"docker-credential-one" gave no login for reg\.example within 0\.2 s'):
        await ask_helper("one", "reg.example", environ=home.environ, where="config")


_ENTRIES: list[object] = [
    {"auth": encoded("me:pass")},
    {"auth": encoded("me:pa:s:s")},
    {"auth": encoded("me:")},
    {"auth": encoded(":pass")},
    {"auth": encoded("me")},
    {"auth": encoded("me:pass\0")},
    {"auth": "%%%"},
    {"auth": encoded("a:b"), "username": "c", "password": "d"},
    {"username": "c", "password": "d"},
    {"identitytoken": "id"},
    {"auth": encoded("me:"), "identitytoken": "id"},
    {"registrytoken": "ready"},
    {},
    [],
    "text",
    None,
]
_KEYS = ["reg.example", "https://reg.example", "http://reg.example/v2/", "reg.example/v1/", "reg.example:5000", "other.example"]


@pytest.mark.timeout(320)  # the first run compiles the oracle
async def test_resolve_of_a_single_entry_equals_docker(home: Home) -> None:
    configs = [{"auths": {key: entry}} for key in _KEYS for entry in _ENTRIES]
    answers = ask("secrets", [{"config": json.dumps(config), "host": "reg.example"} for config in configs])
    for config, answer in zip(configs, answers, strict=True):
        home.write(config)
        ours: Any
        try:
            ours = await home.resolve("reg.example")
        except ConfigError:
            ours = "refused"

        assert (config, ours) == (config, _docker(answer))


def _docker(answer: dict[str, str]) -> Any:
    """Docker's answer in the form of `shown`: tokens go before a user, as in BuildKit's authprovider."""
    if "error" in answer:
        return "refused"
    if answer["identitytoken"]:
        return ("", answer["identitytoken"], "")
    if answer["registrytoken"]:
        return ("", "", answer["registrytoken"])
    return (answer["username"], answer["password"], "") if answer["username"] else None
