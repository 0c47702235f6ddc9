"""registry.client against a strict registry: manifests, logins, schemes, redirects, retries, and connections through byte streams."""

from __future__ import annotations

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from aiohttp import web

from kubectl_build.errors import ConfigError, DialError, ExecError, Forbidden, KubectlBuildError, RegistryError
from kubectl_build.model.credentials import Credentials
from kubectl_build.model.digest import MEDIA_TYPE_INDEX, sha256_digest
from kubectl_build.model.stream import ByteStream, Dialer
from kubectl_build.registry.client import RegistryClient, RegistryTrust, RetryPolicy, open_registry
from kubectl_build.transport.sockets import tcp_direct_dialer
from tests.unit.registry.conftest import Certificates
from tests.unit.registry.fake import IDENTITY, PASSWORD, READY_TOKEN, USER, FakeRegistry, answering, basic, hang_up, refuse, serve

INDEX = json.dumps({"schemaVersion": 2, "mediaType": MEDIA_TYPE_INDEX, "manifests": []}).encode()
DIGEST = sha256_digest(INDEX)
LOGIN = Credentials(username=USER, secret=PASSWORD)
PLAIN = RegistryTrust(http=True)
AT_ONCE = RetryPolicy(backoff=0)


class Logins:
    """A keychain with one login, that notes who asked."""

    def __init__(self, credentials: Credentials | None = None) -> None:
        self.credentials = credentials
        self.asked: list[tuple[str, str]] = []

    async def resolve(self, host: str, repository: str = "") -> Credentials | None:
        self.asked.append((host, repository))
        return self.credentials


def client(fake: FakeRegistry, login: Credentials | None = None, **options: Any) -> AbstractAsyncContextManager[RegistryClient]:
    options = {"trust": PLAIN, "retry": AT_ONCE, **options}
    return open_registry(options.pop("host", fake.host), keychain=Logins(login), **options)


async def put(fake: FakeRegistry, login: Credentials | None = None, **options: Any) -> str:
    async with client(fake, login, **options) as registry:
        return await registry.put_manifest("team/app", "1.0", INDEX, MEDIA_TYPE_INDEX)


async def test_put_manifest_then_get_and_head_give_the_same_bytes() -> None:
    async with serve(FakeRegistry()) as fake, client(fake) as registry:
        digest = await registry.put_manifest("team/app", "1.0", INDEX, MEDIA_TYPE_INDEX)
        got = await registry.get_manifest("team/app", digest)
        head = await registry.head_manifest("team/app", "1.0")

        assert digest == DIGEST
        assert got == (INDEX, MEDIA_TYPE_INDEX, DIGEST)
        assert head is not None
        assert (head.media_type, head.digest, head.size) == (MEDIA_TYPE_INDEX, DIGEST, len(INDEX))
        assert await registry.head_manifest("team/app", "other") is None
        with pytest.raises(RegistryError, match="does not find what to pull from"):
            await registry.get_manifest("team/app", "other")


async def test_get_manifest_with_other_bytes_than_the_digest_is_an_error() -> None:
    fake = FakeRegistry(manifests={("team/app", DIGEST): (b"{}", MEDIA_TYPE_INDEX)})
    async with serve(fake), client(fake) as registry:
        with pytest.raises(RegistryError, match=f"answered other bytes .* than those of {DIGEST}"):
            await registry.get_manifest("team/app", DIGEST)


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_put_manifest_answers_the_challenge_once_and_keeps_the_login(auth: Any) -> None:
    async with serve(FakeRegistry(auth=auth)) as fake, client(fake, LOGIN) as registry:
        await registry.put_manifest("team/app", "1", INDEX, MEDIA_TYPE_INDEX)
        await registry.put_manifest("team/app", "2", INDEX, MEDIA_TYPE_INDEX)

        challenged = ["PUT /v2/team/app/manifests/1", *(["GET /token"] if auth == "bearer" else []), "PUT /v2/team/app/manifests/1"]
        assert fake.requests == [*challenged, "PUT /v2/team/app/manifests/2"]
        assert fake.scopes == (["repository:team/app:pull,push"] if auth == "bearer" else [])


async def test_put_manifest_with_an_expired_token_gets_a_new_one() -> None:
    async with serve(FakeRegistry(auth="bearer")) as fake, client(fake, LOGIN) as registry:
        await registry.put_manifest("team/app", "1", INDEX, MEDIA_TYPE_INDEX)
        fake.expired.update(fake.tokens)
        await registry.put_manifest("team/app", "2", INDEX, MEDIA_TYPE_INDEX)

        assert len(fake.scopes) == 2


async def test_put_manifest_with_an_identity_token_refreshes_it_by_post() -> None:
    async with serve(FakeRegistry(auth="bearer")) as fake:
        await put(fake, Credentials(username="", secret=IDENTITY))

        assert "POST /token" in fake.requests


async def test_put_manifest_with_a_registry_token_asks_no_token_server() -> None:
    async with serve(FakeRegistry(auth="bearer")) as fake:
        await put(fake, Credentials(username="", secret="", registry_token=READY_TOKEN))

        assert fake.requests == ["PUT /v2/team/app/manifests/1.0"] * 2


async def test_get_manifest_without_a_login_takes_an_anonymous_token() -> None:
    fake = FakeRegistry(auth="bearer", anonymous_pull=True, manifests={("team/app", "1"): (INDEX, MEDIA_TYPE_INDEX)})
    async with serve(fake), client(fake) as registry:
        assert (await registry.get_manifest("team/app", "1"))[2] == DIGEST
        assert fake.scopes == ["repository:team/app:pull"]


async def test_keychain_is_asked_for_the_registry_and_repository() -> None:
    keychain = Logins(LOGIN)
    async with serve(FakeRegistry(auth="basic")) as fake, open_registry(fake.host, keychain=keychain, trust=PLAIN) as registry:
        await registry.put_manifest("team/app", "1", INDEX, MEDIA_TYPE_INDEX)

    assert keychain.asked == [(fake.host, "team/app")]


@pytest.mark.parametrize("auth", ["basic", "bearer"])
@pytest.mark.parametrize("login", [Credentials(username=USER, secret="hunter2"), Credentials(username="", secret="hunter2")])
async def test_put_manifest_with_a_wrong_login_says_so_and_shows_no_secret(auth: Any, login: Credentials) -> None:
    async with serve(FakeRegistry(auth=auth)) as fake:
        with pytest.raises(RegistryError) as caught:
            await put(fake, login)

    assert caught.value.status == 401
    assert caught.value.code == "UNAUTHORIZED"
    if login.username:
        assert caught.value.message.startswith(f'registry "{fake.host}" does not accept the login to push to "team/app": UNAUTHORIZED: ')
    assert "hunter2" not in f"{caught.value} {caught.value.hint} {caught.value!r}"


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_put_manifest_without_a_login_says_how_to_give_one(auth: Any) -> None:
    async with serve(FakeRegistry(auth=auth)) as fake:
        with pytest.raises(RegistryError) as caught:
            await put(fake)

    assert caught.value.message.startswith(f'registry "{fake.host}" wants a login to push to "team/app", and there is none: UNAUTHORIZED')
    assert f"kubectl create secret docker-registry NAME --docker-server={fake.host}" in (caught.value.hint or "")


async def test_put_manifest_that_is_denied_names_the_repository() -> None:
    async with serve(FakeRegistry(auth="basic", allowed="pull")) as fake:
        with pytest.raises(RegistryError) as caught:
            await put(fake, LOGIN)

    assert caught.value.message == (
        f'registry "{fake.host}" does not allow this login to push to "team/app": DENIED: requested access to the resource is denied'
    )
    assert (caught.value.status, caught.value.exit_code) == (403, 6)


@pytest.mark.parametrize(
    ("realm", "why"),
    [
        ("ftp://127.0.0.1/token", "it is not an http or https URL"),
        ("/token", "it is not an http or https URL"),
        ("http://u:p@127.0.0.1/token", "it has a login in it"),
        ("http://[::1/token", "it is not a URL"),
    ],
)
async def test_token_server_that_may_get_no_login_is_refused(realm: str, why: str) -> None:
    async with serve(FakeRegistry(auth="bearer", realm=realm)) as fake:
        with pytest.raises(RegistryError) as caught:
            await put(fake, LOGIN)

    assert caught.value.message == f'registry "{fake.host}" names the token server "{realm}", which gets no login: {why}'


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"token": 1}', b'{"token": "a\\nb"}'])
async def test_token_server_without_a_token_is_an_error(body: bytes) -> None:
    async def no_token(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body)

    async with serve(FakeRegistry(auth="bearer")) as fake, serve(FakeRegistry()) as tokens:
        fake.realm = f"{tokens.url}/token"
        tokens.answers.append(no_token)
        with pytest.raises(RegistryError, match="answered no token"):
            await put(fake, LOGIN)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
async def test_put_manifest_is_tried_again_after_a_transient_answer(status: int) -> None:
    async with serve(FakeRegistry()) as fake:
        fake.answers.extend([answering(status), answering(status, Retry_After="0"), hang_up])

        assert await put(fake) == DIGEST
        assert len(fake.requests) == 4


async def test_put_manifest_gives_up_after_the_last_attempt() -> None:
    async with serve(FakeRegistry()) as fake:
        fake.answers.extend([answering(503)] * 4)
        with pytest.raises(RegistryError, match='answered 503 to a request to push to "team/app": UNAVAILABLE: told to'):
            await put(fake)
        assert len(fake.requests) == 4
        fake.answers.extend([hang_up] * 20)
        with pytest.raises(RegistryError, match="broke"):
            await put(fake)

        assert 8 <= len(fake.requests) <= 12  # aiohttp itself tries a request once more when its connection broke


async def test_put_manifest_told_to_wait_for_too_long_fails_at_once() -> None:
    async with serve(FakeRegistry()) as fake:
        fake.answers.append(answering(429, "TOOMANYREQUESTS", Retry_After="3600"))
        with pytest.raises(RegistryError, match="gets too many requests") as caught:
            await put(fake)

    assert caught.value.retry_after == 3600
    assert len(fake.requests) == 1


async def test_get_manifest_of_more_than_4_mib_is_an_error() -> None:
    fake = FakeRegistry(manifests={("team/app", "1"): (b"x" * (4 * 1024 * 1024 + 1), MEDIA_TYPE_INDEX)})
    async with serve(fake), client(fake) as registry:
        with pytest.raises(RegistryError, match="answered with more than 4 MiB"):
            await registry.get_manifest("team/app", "1")


async def test_get_manifest_redirected_elsewhere_takes_no_login_along() -> None:
    async with serve(FakeRegistry(auth="basic")) as fake, serve(FakeRegistry()) as storage, client(fake, LOGIN) as registry:
        storage.manifests["team/app", "1"] = (INDEX, MEDIA_TYPE_INDEX)
        fake.answers.append(lambda _: _answer(refuse(401, "UNAUTHORIZED", "", challenge="Basic")))
        fake.answers.append(answering(307, Location=f"{storage.url}/v2/team/app/manifests/1"))

        assert (await registry.get_manifest("team/app", "1"))[2] == DIGEST
        assert fake.authorizations == ["", basic(USER, PASSWORD)]
        assert storage.authorizations == [""]


async def _answer(response: web.Response) -> web.StreamResponse:
    return response


@pytest.mark.parametrize(
    ("status", "location", "message"),
    [
        (307, "http://127.0.0.2:1/x?secret=1", "http://127.0.0.2:1/x\", which is not followed: a manifest is written to"),
        (303, "/v2/team/app/manifests/2", "the answer to a write may not become a read"),
        (308, "ftp://127.0.0.1/", "it is not an http or https URL"),
        (308, "http://[", "which is not a URL"),
        (302, "", "answered 302 to a request to push"),
    ],
)  # fmt: skip
async def test_put_manifest_redirected_elsewhere_is_refused(status: int, location: str, message: str) -> None:
    async with serve(FakeRegistry()) as fake:
        fake.answers.append(answering(status, Location=location))
        with pytest.raises(RegistryError) as caught:
            await put(fake)

    assert message in caught.value.message


async def test_put_manifest_redirected_within_the_registry_is_followed() -> None:
    async with serve(FakeRegistry()) as fake:
        fake.answers.append(answering(308, Location="/v2/other/app/manifests/1.0"))

        assert await put(fake) == DIGEST
        assert ("other/app", "1.0") in fake.manifests


async def test_put_manifest_redirected_for_ever_ends() -> None:
    async with serve(FakeRegistry()) as fake:
        fake.answers.extend([answering(307, Location="/v2/team/app/manifests/1.0")] * 9)
        with pytest.raises(RegistryError, match="redirects more than 5 times"):
            await put(fake)


async def test_put_manifest_stored_as_something_else_is_an_error() -> None:
    async with serve(FakeRegistry()) as fake:
        fake.answers.append(answering(201, Docker_Content_Digest="sha256:" + "0" * 64))
        with pytest.raises(RegistryError, match=f"as sha256:{'0' * 64} instead of {DIGEST}"):
            await put(fake)


async def test_registry_that_refuses_connections_is_named() -> None:
    async with serve(FakeRegistry()) as gone:
        host = gone.host
    with pytest.raises(RegistryError) as caught:
        await put(FakeRegistry(host=host))

    assert caught.value.message == f'registry "{host}" cannot be reached: connection to {host} refused'


async def test_registry_without_a_name_is_named() -> None:
    with pytest.raises(RegistryError) as caught:
        await put(FakeRegistry(host="registry.invalid"), trust=RegistryTrust())

    assert caught.value.message == 'registry "registry.invalid" cannot be reached: the name registry.invalid is not known here'


async def test_https_with_the_ca_is_verified(certificates: Certificates) -> None:
    async with serve(FakeRegistry(auth="bearer"), tls=certificates.server) as fake:
        assert await put(fake, LOGIN, trust=RegistryTrust(ca_pem=certificates.ca_pem)) == DIGEST


async def test_https_with_an_unknown_ca_says_where_to_add_it(certificates: Certificates) -> None:
    async with serve(FakeRegistry(), tls=certificates.server) as fake:
        with pytest.raises(RegistryError) as caught:
            await put(fake, trust=RegistryTrust())

    assert caught.value.message.startswith(f'the certificate of registry "{fake.host}" is not trusted: ')
    assert f"kubectl buildkit create --registry {fake.host},ca=FILE" in (caught.value.hint or "")
    assert "kubectl-build-defaults" in (caught.value.hint or "")


async def test_https_for_another_name_is_not_trusted(certificates: Certificates) -> None:
    async with serve(FakeRegistry(), tls=certificates.server) as fake:
        host = fake.host.replace("127.0.0.1", "other.example")
        with pytest.raises(RegistryError, match="is not trusted: Hostname mismatch"):
            await put(fake, trust=RegistryTrust(ca_pem=certificates.ca_pem), host=host, dial=Dials(fake.host))


async def test_ca_that_is_not_pem_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r'the CA certificate for registry "reg\.example" is not valid PEM'):
        await put(FakeRegistry(host="reg.example"), trust=RegistryTrust(ca_pem="nonsense"))


async def test_insecure_does_not_verify_https(certificates: Certificates) -> None:
    async with serve(FakeRegistry(), tls=certificates.server) as fake:
        assert await put(fake, trust=RegistryTrust(insecure=True)) == DIGEST


async def test_insecure_falls_back_to_plain_http_and_stays_there() -> None:
    async with serve(FakeRegistry()) as fake, client(fake, trust=RegistryTrust(insecure=True)) as registry:
        for tag in ("1", "2"):
            await registry.put_manifest("team/app", tag, INDEX, MEDIA_TYPE_INDEX)

        assert fake.requests == ["PUT /v2/team/app/manifests/1", "PUT /v2/team/app/manifests/2"]


async def test_this_machine_falls_back_to_plain_http() -> None:
    async with serve(FakeRegistry()) as fake:
        assert await put(fake, trust=RegistryTrust()) == DIGEST


async def test_plain_http_where_https_is_expected_names_the_attribute() -> None:
    async with serve(FakeRegistry()) as fake:
        with pytest.raises(RegistryError) as caught:
            await put(fake, trust=RegistryTrust(), host="registry.example", dial=Dials(fake.host))

    assert caught.value.message == 'registry "registry.example" answers plain HTTP where HTTPS is expected'
    assert "registry.insecure=true" in (caught.value.hint or "")
    assert fake.requests == []


class Dials:
    """Streams to one address whatever host is asked for, counted."""

    def __init__(self, target: str, failure: KubectlBuildError | None = None) -> None:
        self.target = target
        self.failure = failure
        self.asked: list[tuple[str, int]] = []

    def __call__(self, host: str, port: int) -> Dialer:
        async def dial() -> ByteStream:
            self.asked.append((host, port))
            if self.failure is not None:
                raise self.failure
            name, _, number = self.target.partition(":")
            return await tcp_direct_dialer(name, int(number))()

        return dial


async def test_dial_carries_tls_and_tokens_to_a_name_that_only_the_other_end_knows(certificates: Certificates) -> None:
    async with serve(FakeRegistry(auth="bearer"), tls=certificates.server) as fake:
        fake.realm = "https://registry.example:5443/token"
        dial = Dials(fake.host)

        digest = await put(fake, LOGIN, trust=RegistryTrust(ca_pem=certificates.ca_pem), host="registry.example", dial=dial)

        assert digest == DIGEST
        assert dial.asked == [("registry.example", 443), ("registry.example", 5443)]


async def test_dial_of_docker_hub_asks_its_registry_host() -> None:
    async with serve(FakeRegistry()) as fake:
        dial = Dials(fake.host)
        await put(fake, host="docker.io", dial=dial)

        assert dial.asked == [("registry-1.docker.io", 80)]


async def test_dial_that_fails_says_why_and_is_not_repeated(certificates: Certificates) -> None:
    dial = Dials("", DialError("nc: bad address registry.example", hint="look there"))
    for trust in (PLAIN, RegistryTrust(ca_pem=certificates.ca_pem)):
        dial.asked.clear()
        with pytest.raises(RegistryError) as caught:
            await put(FakeRegistry(host="registry.example"), trust=trust, dial=dial)

        assert caught.value.message == ('registry "registry.example" cannot be reached from the builder: nc: bad address registry.example')
        assert caught.value.hint == "look there"
        assert len(dial.asked) <= 2  # aiohttp itself tries a request once more when its connection broke


async def test_dial_that_the_cluster_forbids_is_the_clusters_error() -> None:
    with pytest.raises(Forbidden, match="no exec for you"):
        await put(FakeRegistry(host="registry.example"), dial=Dials("", Forbidden("no exec for you", status=403)))


async def test_dial_from_a_pod_that_is_gone_is_no_failure_of_the_registry() -> None:
    with pytest.raises(ExecError, match="container not found") as caught:
        await put(FakeRegistry(host="registry.example"), dial=Dials("", ExecError("container not found")))

    assert caught.value.transient


async def test_dial_that_breaks_before_the_answer_is_tried_again() -> None:
    async with serve(FakeRegistry()) as fake:
        fake.answers.append(hang_up)
        dial = Dials(fake.host)

        assert await put(fake, host="registry.example", dial=dial) == DIGEST
        assert len(dial.asked) == 2


async def test_requests_of_many_tasks_are_bounded() -> None:
    under_way, most = 0, 0

    async def slow(_: web.Request) -> web.StreamResponse:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _turn in range(20):
            await asyncio.sleep(0)
        under_way -= 1
        return web.Response(body=INDEX, headers={"Content-Type": MEDIA_TYPE_INDEX})

    async with serve(FakeRegistry()) as fake, client(fake) as registry:
        fake.answers.extend([slow] * 40)
        await asyncio.gather(*(registry.get_manifest("team/app", str(number)) for number in range(40)))

    assert 1 < most <= 8


async def test_requests_of_several_tasks_share_one_client() -> None:
    async with serve(FakeRegistry(auth="bearer")) as fake, client(fake, LOGIN) as registry:
        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(registry.put_manifest(f"team/app{number}", "1", INDEX, MEDIA_TYPE_INDEX))

        assert len(fake.manifests) == 10
