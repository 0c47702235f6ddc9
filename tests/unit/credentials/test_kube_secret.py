"""Registry secrets and the order in which a build looks for its logins."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from kubectl_build.cluster.resources import SECRETS, Resource
from kubectl_build.credentials.kube_secret import load_secret_keychain
from kubectl_build.credentials.load import load_keychain
from kubectl_build.errors import ApiUnreachable, ConfigError, Forbidden, KubectlBuildError, NotFound
from kubectl_build.model.events import BuildEvent, Note
from kubectl_build.model.json import JsonObject
from tests.unit.credentials.test_docker_config import SECRET, encoded, shown

CONFIG_TYPE, OLD_TYPE = "kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg"


class Secrets:
    """An API server with secrets in the namespace "apps"; what is not there raises NotFound, an exception in their place is raised."""

    namespace = "apps"

    def __init__(self, **secrets: JsonObject | KubectlBuildError) -> None:
        self.secrets = secrets
        self.asked: list[str] = []

    async def get(self, resource: Resource, name: str, *, namespace: str | None = None) -> JsonObject:
        assert (resource, namespace) == (SECRETS, "apps")
        self.asked.append(name)
        found = self.secrets.get(name) or NotFound(f'secrets "{name}" not found', status=404)
        if isinstance(found, KubectlBuildError):
            raise found
        return found


def secret(auths: Any, *, kind: str = CONFIG_TYPE) -> JsonObject:
    """A secret as `kubectl create secret docker-registry` makes it."""
    document = {"auths": auths} if kind == CONFIG_TYPE else auths
    return {"type": kind, "data": {kind.replace("kubernetes.io/", "."): encoded(json.dumps(document))}}


def login(user: str, password: str = "pass") -> JsonObject:
    return {"username": user, "password": password, "auth": encoded(f"{user}:{password}")}


@pytest.mark.parametrize("kind", [CONFIG_TYPE, OLD_TYPE])
async def test_secret_of_either_type_is_used_for_the_hosts_it_names(kind: str) -> None:
    kube = Secrets(s=secret({"https://index.docker.io/v1/": login("hub"), "*.example": login("any"), "a.example/x": login("x")}, kind=kind))

    keychain = await load_secret_keychain(kube, "apps", "s")

    assert shown(await keychain.resolve("registry-1.docker.io")) == ("hub", "pass", "")
    assert shown(await keychain.resolve("a.example", "x/y")) == ("x", "pass", "")
    assert shown(await keychain.resolve("b.example")) == ("any", "pass", "")
    assert await keychain.resolve("b.example:5000") is None


FORBIDDEN = Forbidden('user "me" may not get secret "s"', status=403)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (None, " does not exist"),
        (FORBIDDEN, ' cannot be read: user "me" may not get secret "s"'),
        ({"type": "Opaque", "data": {"x": ""}}, f' has the type "Opaque"; a registry secret has {CONFIG_TYPE} or {OLD_TYPE}'),
        ({"data": {}}, f' has the type "None"; a registry secret has {CONFIG_TYPE} or {OLD_TYPE}'),
        ({"type": CONFIG_TYPE, "data": {".dockercfg": ""}}, ' has no key ".dockerconfigjson"'),
        ({"type": CONFIG_TYPE}, ' has no key ".dockerconfigjson"'),
        ({"type": OLD_TYPE, "data": {".dockerconfigjson": ""}}, ' has no key ".dockercfg"'),
        ({"type": CONFIG_TYPE, "data": {".dockerconfigjson": SECRET + "!"}}, ' is malformed: ".dockerconfigjson" is not base64'),
        (
            {"type": CONFIG_TYPE, "data": {".dockerconfigjson": encoded("{" + SECRET)}},
            ' is malformed: ".dockerconfigjson" is not valid JSON: Expecting property name enclosed in double quotes at line 1 column 2',
        ),
        (
            {"type": CONFIG_TYPE, "data": {".dockerconfigjson": base64.b64encode(b"\xff\xfe{").decode()}},
            ' is malformed: ".dockerconfigjson" is not valid JSON',
        ),
        (secret([SECRET]), ' is malformed: ".dockerconfigjson" has "auths" that is not an object'),
        (secret({"h": {"auth": SECRET + "!"}}), ' is malformed: ".dockerconfigjson" has an entry for "h" whose "auth" is not base64'),
        (secret([SECRET], kind=OLD_TYPE), ' is malformed: ".dockercfg" is not a JSON object'),
    ],
)
async def test_secret_that_cannot_be_used_says_why_and_what_to_do(stored: Any, message: str) -> None:
    kube = Secrets(s=stored)
    with pytest.raises(ConfigError) as caught:
        await load_secret_keychain(kube, "apps", "s")

    assert caught.value.message == f'registry secret "s" in namespace "apps"{message}'
    assert caught.value.exit_code == 3
    assert SECRET not in f"{caught.value!r} {caught.value.hint} {caught.value.__cause__!r} {caught.value.__context__!r}"
    if stored is not FORBIDDEN:
        assert "kubectl create secret docker-registry s -n apps --docker-server=HOST" in (caught.value.hint or "")


async def test_secret_of_a_cluster_that_does_not_answer_is_a_cluster_error() -> None:
    with pytest.raises(ApiUnreachable):
        await load_secret_keychain(Secrets(s=ApiUnreachable("no answer")), "apps", "s")


class Loading:
    """A call of load_keychain in a home of its own, with what it told the user."""

    def __init__(self, home: Path) -> None:
        self.events: list[BuildEvent] = []
        self.environ = {"HOME": str(home)}
        (home / ".docker").mkdir()
        (home / ".docker" / "config.json").write_text(json.dumps({"auths": {"a.example": login("docker"), "d.example": login("docker")}}))

    async def user(self, kube: Secrets, secrets: list[str], host: str) -> str | None:
        keychain = await load_keychain(kube, secrets, "buildkit", environ=self.environ, emit=self.events.append)
        found = await keychain.resolve(host)
        return found.username if found else None

    @property
    def notes(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Note)]


@pytest.fixture
def loading(tmp_path: Path) -> Loading:
    return Loading(tmp_path)


async def test_load_keychain_asks_the_named_secrets_in_order_then_docker(loading: Loading) -> None:
    kube = Secrets(
        one=secret({"a.example": login("one")}),
        two=secret({"a.example": login("two"), "b.example": login("two")}),
        buildkit=secret({"c.example": login("builder")}),
    )

    assert await loading.user(kube, ["one", "two", "one"], "a.example") == "one"
    assert await loading.user(kube, ["one", "two"], "b.example") == "two"
    assert await loading.user(kube, ["one"], "c.example") is None
    assert await loading.user(kube, ["one"], "d.example") == "docker"
    assert kube.asked == ["one", "two", "one", "two", "one", "one"]
    assert loading.notes == []


async def test_load_keychain_of_a_tilt_build_goes_on_without_the_secret_that_tilt_names_by_itself(loading: Loading) -> None:
    with pytest.raises(ConfigError, match="docker-registry"):
        await loading.user(Secrets(), ["docker-registry"], "a.example")
    loading.environ["EXPECTED_REF"] = "r.example/app:tilt-1"

    assert await loading.user(Secrets(), ["docker-registry"], "a.example") == "docker"
    assert "going on without it, since Tilt names it" in loading.notes[0]
    with pytest.raises(ConfigError, match="mine"):
        await loading.user(Secrets(), ["mine"], "a.example")


async def test_load_keychain_without_a_named_secret_uses_that_of_the_builder(loading: Loading) -> None:
    kube = Secrets(buildkit=secret({"a.example": login("builder")}))

    assert await loading.user(kube, [], "a.example") == "builder"
    assert await loading.user(Secrets(), [], "a.example") == "docker"
    assert loading.notes == []


@pytest.mark.parametrize(
    ("stored", "note"),
    [
        (FORBIDDEN, 'the registry secret "buildkit", if there is one, may not be read; going on without it'),
        ({"type": "Opaque"}, 'registry secret "buildkit" in namespace "apps" has the type "Opaque"'),
    ],
)
async def test_load_keychain_goes_on_without_a_builders_secret_that_cannot_be_used(loading: Loading, stored: Any, note: str) -> None:
    assert await loading.user(Secrets(buildkit=stored), [], "a.example") == "docker"
    assert len(loading.notes) == 1
    assert loading.notes[0].startswith(note)


@pytest.mark.parametrize("stored", [None, FORBIDDEN, {"type": "Opaque"}])
async def test_load_keychain_with_a_named_secret_that_cannot_be_used_fails(loading: Loading, stored: Any) -> None:
    with pytest.raises(ConfigError, match='registry secret "one" in namespace "apps"'):
        await loading.user(Secrets(one=stored), ["one"], "a.example")
