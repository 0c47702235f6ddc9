"""How registries differ from the specification and from each other: each behaviour played by a server, as that registry has it."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from kubectl_build.errors import RegistryError
from kubectl_build.model.credentials import Credentials
from kubectl_build.model.digest import MEDIA_TYPE_INDEX
from kubectl_build.model.events import BuildEvent, Note
from kubectl_build.registry.authorization import Scope
from kubectl_build.registry.client import RegistryTrust, RetryPolicy
from kubectl_build.registry.exchange import _keeps_login
from tests.fakes.serving import serving
from tests.unit.registry.conftest import Certificates
from tests.unit.registry.fake import PASSWORD, USER, Answer, FakeRegistry, answering, basic, refuse, serve
from tests.unit.registry.test_client import AT_ONCE, DIGEST, INDEX, LOGIN, PLAIN, client, put

Seen = list[web.Request]


def challenging(*challenges: str, status: int = 401, text: str = "") -> Answer:
    """A refusal with these WWW-Authenticate headers; with `text` in place of a document."""

    async def answer(_: web.Request) -> web.StreamResponse:
        response = web.Response(status=status, text=text) if text else refuse(status, "UNAUTHORIZED", "authentication required")
        for challenge in challenges:
            response.headers.add("WWW-Authenticate", challenge)
        return response

    return answer


def token(document: Any, seen: Seen | None = None, *, status: int = 200, **headers: str) -> Answer:
    """A token server's answer; the request is noted in `seen`."""

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        if seen is not None:
            seen.append(request)
        return web.json_response(document, status=status, headers=headers)

    return answer


def accepting(authorization: str) -> Answer:
    """A registry that has taken a manifest, sent with `authorization`."""

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.headers.get("Authorization", "") == authorization
        return web.Response(status=201)

    return answer


async def test_harbor_has_a_realm_with_a_path_and_a_service_in_quotes_with_blanks_and_commas() -> None:
    seen: Seen = []
    async with serve(FakeRegistry()) as fake:
        challenge = (
            f'Bearer realm="{fake.url}/service/token",service="harbor \\"the, first\\" registry",scope="repository:team/app:pull,push"'
        )
        fake.answers.extend([challenging(challenge), token({"token": "", "access_token": "harbor"}, seen), accepting("Bearer harbor")])
        await put(fake, LOGIN)

    assert seen[0].path == "/service/token"
    assert seen[0].query["service"] == 'harbor "the, first" registry'
    assert seen[0].headers["Authorization"] == basic(USER, PASSWORD)


async def test_ecr_wants_basic_with_the_user_aws_and_says_plain_text() -> None:
    challenge = 'Basic realm="https://1234.dkr.ecr.eu-west-1.amazonaws.com/",service="ecr.amazonaws.com"'
    async with serve(FakeRegistry()) as fake:
        fake.answers.extend([challenging(challenge, text="Not Authorized\n"), accepting(basic("AWS", "x" * 1500))])
        await put(fake, Credentials(username="AWS", secret="x" * 1500))
        fake.answers.append(challenging(challenge, text="Not Authorized\n"))
        with pytest.raises(RegistryError, match=r"wants a login .*: Not Authorized$"):
            await put(fake)


async def test_ecr_says_by_403_that_the_login_has_expired() -> None:
    said = {"errors": [{"code": "DENIED", "message": "Your authorization token has expired. Reauthenticate and try again."}]}
    async with serve(FakeRegistry()) as fake:
        fake.answers.extend([challenging('Basic realm="x"'), token(said, status=403)])
        with pytest.raises(RegistryError, match=r"the login to push to .* has expired: DENIED") as caught:
            await put(fake, Credentials(username="AWS", secret="old"))

    assert "log in anew" in (caught.value.hint or "")
    assert caught.value.code == "DENIED"


async def test_ghcr_asks_for_pull_alone_and_gets_what_the_push_needs() -> None:
    seen: Seen = []
    async with serve(FakeRegistry()) as fake:
        challenge = f'Bearer realm="{fake.url}/token",service="ghcr.io",scope="repository:team/app:pull"'
        fake.answers.extend([challenging(challenge), token({"token": "ghcr"}, seen), accepting("Bearer ghcr")])
        await put(fake, LOGIN)

    assert seen[0].query.getall("scope") == ["repository:team/app:pull,push"]


@pytest.mark.parametrize("login", [None, LOGIN])
async def test_ghcr_denies_a_token_for_a_package_that_is_not_there(login: Credentials | None) -> None:
    said = {"errors": [{"code": "DENIED", "message": "requested access to the resource is denied"}]}
    async with serve(FakeRegistry()) as fake, client(fake, login) as registry:
        fake.answers.extend([challenging(f'Bearer realm="{fake.url}/token",service="ghcr.io"'), token(said, status=403)])
        with pytest.raises(RegistryError, match="DENIED: requested access") as caught:
            await registry.get_manifest("team/app", "1")

    assert ("not there" if login else "kubectl create secret") in (caught.value.hint or "")


async def test_gitlab_has_a_realm_with_a_query_of_its_own() -> None:
    seen: Seen = []
    async with serve(FakeRegistry()) as fake:
        realm = f"{fake.url}/jwt/auth?offline_token=true&scope=openid"
        challenge = f'Bearer realm="{realm}",service="container_registry",scope="repository:team/app:push,pull",error="invalid_token"'
        fake.answers.extend([challenging(challenge), token({"token": "gitlab"}, seen), accepting("Bearer gitlab")])
        await put(fake, LOGIN)

    assert seen[0].query["offline_token"] == "true"
    assert seen[0].query.getall("scope") == ["openid", "repository:team/app:pull,push"]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"error": "Invalid Username or Password"}, "Invalid Username or Password"),  # Quay
        ({"details": "incorrect username or password"}, "incorrect username or password"),  # Docker Hub
        ({"error": "invalid_grant", "error_description": "it expired"}, "invalid_grant: it expired"),  # oauth2
        ({"message": "no"}, "no"),
        ({"errors": []}, ""),
        ([1], ""),
    ],
)
async def test_token_servers_refuse_in_documents_of_their_own(document: Any, words: str) -> None:
    async with serve(FakeRegistry()) as fake:
        fake.answers.extend([challenging(f'Bearer realm="{fake.url}/token"'), token(document, status=401)])
        with pytest.raises(RegistryError) as caught:
            await put(fake, LOGIN)

    expected = f'registry "{fake.host}" does not accept the login to push to "team/app"'
    assert caught.value.message == (f"{expected}: {words}" if words else expected)


async def test_acr_takes_an_identity_token_by_post_and_its_nameless_user_by_basic() -> None:
    seen: Seen = []
    async with serve(FakeRegistry()) as fake:
        challenge = f'Bearer realm="{fake.url}/oauth2/token",service="me.azurecr.io",scope="repository:team/app:pull,push"'
        fake.answers.extend([challenging(challenge), token({"access_token": "acr"}, seen), accepting("Bearer acr")])
        await put(fake, Credentials(username="", secret="refresh"))
        nameless = "00000000-0000-0000-0000-000000000000"
        fake.answers.extend([challenging(challenge), token({"access_token": "acr"}, seen), accepting("Bearer acr")])
        await put(fake, Credentials(username=nameless, secret="refresh"))

    form = await seen[0].post()
    assert {name: form[name] for name in ("grant_type", "refresh_token", "service", "scope")} == {
        "grant_type": "refresh_token",
        "refresh_token": "refresh",
        "service": "me.azurecr.io",
        "scope": "repository:team/app:pull,push",
    }
    assert seen[1].headers["Authorization"] == basic(nameless, "refresh")


async def test_several_challenges_in_one_header_and_in_several_are_all_read() -> None:
    async with serve(FakeRegistry()) as fake:
        fake.answers.extend([challenging("Negotiate", 'Basic realm="a, b", Digest realm="x",nonce="y"'), accepting(basic(USER, PASSWORD))])
        await put(fake, LOGIN)
        bearer = f'Basic realm="r", Bearer realm="{fake.url}/token"'
        fake.answers.extend([challenging(bearer), token({"token": "t"}), accepting("Bearer t")])
        await put(fake, LOGIN)


async def test_challenge_that_nobody_knows_is_a_refusal() -> None:
    async with serve(FakeRegistry()) as fake:
        fake.answers.append(challenging("Negotiate"))
        with pytest.raises(RegistryError) as caught:
            await put(fake, LOGIN)

    assert caught.value.status == 401


async def test_token_that_expires_in_between_is_renewed_once_for_all_tasks() -> None:
    fake = FakeRegistry(auth="bearer", manifests={("team/app", str(n)): (INDEX, MEDIA_TYPE_INDEX) for n in range(8)})
    async with serve(fake), client(fake, LOGIN) as registry:
        await registry.get_manifest("team/app", "0")
        fake.expired.update(fake.tokens)
        await asyncio.gather(*(registry.get_manifest("team/app", str(n)) for n in range(8)))

        assert len(fake.tokens) == 2


async def test_token_that_is_never_good_is_asked_for_once_in_a_request() -> None:
    fake = FakeRegistry(auth="bearer", manifests={("team/app", "1"): (INDEX, MEDIA_TYPE_INDEX)})
    async with serve(fake), client(fake, LOGIN) as registry:
        fake.expired.update(f"token-{n}" for n in range(9))
        with pytest.raises(RegistryError, match="does not accept the login"):
            await registry.get_manifest("team/app", "1")

        assert len(fake.tokens) == 1


async def test_token_for_everybody_that_does_not_do_is_no_wrong_login() -> None:
    async with serve(FakeRegistry(auth="bearer", anonymous_pull=True)) as fake:
        fake.expired.add("token-0")
        with pytest.raises(RegistryError, match=r"wants a login to push to .*, and there is none"):
            await put(fake)


def in_seconds(seconds: int) -> str:
    return formatdate(time.time() + seconds, usegmt=True)


@pytest.mark.parametrize("after", [lambda: "20", lambda: in_seconds(20)], ids=["seconds", "date"])
async def test_rate_limit_with_retry_after_is_waited_for_and_told(monkeypatch: pytest.MonkeyPatch, after: Callable[[], str]) -> None:
    slept: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float, result: Any = None) -> Any:
        slept.append(seconds)
        return await real(0, result)

    monkeypatch.setattr("kubectl_build.registry.http.asyncio.sleep", sleep)
    events: list[BuildEvent] = []
    async with serve(FakeRegistry()) as fake:
        fake.answers.append(answering(429, "TOOMANYREQUESTS", Retry_After=after()))
        assert await put(fake, emit=events.append) == DIGEST

        told = [event.text for event in events if isinstance(event, Note) and event.level == "wait"]
        assert [text.partition(" s ")[2] for text in told] == [
            f'for registry "{fake.host}", as it asks: it gets too many requests', ""
        ]  # fmt: skip
    assert any(5 <= seconds <= 20 for seconds in slept)


@pytest.mark.parametrize("login", [None, LOGIN])
async def test_rate_limit_of_docker_hub_that_takes_too_long_says_the_limit(login: Credentials | None) -> None:
    limits = {"Retry_After": "3000", "RateLimit_Limit": "100;w=21600", "RateLimit_Remaining": "0;w=21600"}
    async with serve(FakeRegistry()) as fake:
        if login:
            fake.answers.append(challenging('Basic realm="x"'))
        fake.answers.append(answering(429, "TOOMANYREQUESTS", **limits))
        with pytest.raises(RegistryError) as caught:
            await put(fake, login)

    assert caught.value.message == (
        f'registry "{fake.host}" gets too many requests (it allows 100 in 6 h), and wants 3000 s of quiet: TOOMANYREQUESTS: told to'
    )
    assert caught.value.retry_after == 3000
    assert ("a login may have a higher limit" in (caught.value.hint or "")) is (login is None)


async def test_rate_limit_of_a_date_that_is_far_away_is_not_waited_for() -> None:
    async with serve(FakeRegistry()) as fake:
        fake.answers.append(answering(429, Retry_After=in_seconds(7200)))
        with pytest.raises(RegistryError, match="gets too many requests"):
            await put(fake, retry=RetryPolicy())

        assert len(fake.requests) == 1


async def test_connection_closed_in_the_tls_handshake_is_tried_again_and_has_a_reason(certificates: Certificates) -> None:
    met = 0

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal met
        met += 1

    async with serving(close) as port:
        host = f"127.0.0.1:{port}"
        with pytest.raises(RegistryError, match=r'^the connection to registry "127.0.0.1:\d+" broke: \w+'):
            await put(FakeRegistry(host=host), trust=RegistryTrust(ca_pem=certificates.ca_pem))

    assert met >= AT_ONCE.attempts


async def test_head_without_a_digest_reads_the_manifest() -> None:
    async def bare(_: web.Request) -> web.StreamResponse:
        return web.Response(headers={"Content-Type": MEDIA_TYPE_INDEX})

    fake = FakeRegistry(manifests={("team/app", "1"): (INDEX, MEDIA_TYPE_INDEX)})
    async with serve(fake), client(fake) as registry:
        fake.answers.append(bare)
        found = await registry.head_manifest("team/app", "1")

    assert found is not None
    assert (found.digest, found.size, found.media_type) == (DIGEST, len(INDEX), MEDIA_TYPE_INDEX)


async def test_https_is_never_left_for_plain_http(certificates: Certificates) -> None:
    async with serve(FakeRegistry()) as plain, serve(FakeRegistry(), tls=certificates.server) as fake:
        trust = RegistryTrust(ca_pem=certificates.ca_pem)
        for location in (f"{plain.url}/v2/team/app/manifests/1", f"http://{fake.host}/v2/team/app/manifests/1"):
            fake.answers.append(answering(307, Location=location))
            async with client(fake, trust=trust) as registry:
                with pytest.raises(RegistryError, match="it is plain HTTP, and the registry is not"):
                    await registry.get_manifest("team/app", "1")

        assert plain.requests == []


async def test_plain_http_that_redirects_to_https_is_followed(certificates: Certificates) -> None:
    fake = FakeRegistry(manifests={("team/app", "1"): (INDEX, MEDIA_TYPE_INDEX)})
    async with serve(fake, tls=certificates.server), serve(FakeRegistry(auth="basic")) as plain:
        plain.answers.append(challenging("Basic"))
        plain.answers.append(answering(308, Location=f"{fake.url}/v2/team/app/manifests/1"))
        trust = RegistryTrust(http=True, ca_pem=certificates.ca_pem)
        async with client(plain, LOGIN, trust=trust, retry=AT_ONCE) as registry:
            assert (await registry.get_manifest("team/app", "1"))[2] == DIGEST

        assert fake.authorizations == [""]


@pytest.mark.parametrize(
    ("here", "there", "kept"),
    [
        ("https://reg.example/a", "https://reg.example/b?c", True),
        ("https://reg.example/a", "https://reg.example:443/b", True),
        ("http://reg.example/a", "https://reg.example/a", True),
        ("http://reg.example:5000/a", "https://reg.example/a", False),
        ("http://reg.example:5000/a", "https://reg.example:5000/a", False),
        ("https://reg.example/a", "http://reg.example/a", False),
        ("https://reg.example/a", "https://reg.example:8443/a", False),
        ("https://reg.example/a", "https://cdn.reg.example/a", False),
    ],
)
def test_login_stays_with_the_server_it_is_for(here: str, there: str, kept: bool) -> None:
    assert _keeps_login(URL(here), URL(there)) is kept


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("", ["repository:a/b:pull,push", "repository:c:pull"]),
        ("repository:a/b:pull", ["repository:a/b:pull,push", "repository:c:pull"]),
        ("repository:a/b:push,pull repository:c:pull", ["repository:a/b:pull,push", "repository:c:pull"]),
        ("aws", ["aws", "repository:a/b:pull,push", "repository:c:pull"]),
        ("repository:a/b:delete registry:catalog:*", ["repository:a/b:delete,pull,push", "registry:catalog:*", "repository:c:pull"]),
    ],
)
def test_scope_includes_what_the_challenge_and_the_request_need(asked: str, expected: list[str]) -> None:
    assert Scope(repository="a/b", actions="pull,push", mount_from="c").including(asked) == expected


async def test_refusals_never_show_the_login() -> None:
    secret = base64.b64encode(b"hunter2").decode()
    async with serve(FakeRegistry()) as fake:
        for answers in ([challenging('Basic realm="x"'), answering(403)], [challenging(f'Bearer realm="{fake.url}/t"'), answering(401)]):
            fake.answers.extend(answers)
            with pytest.raises(RegistryError) as caught:
                await put(fake, Credentials(username="me", secret="hunter2"), trust=PLAIN)
            shown = f"{caught.value!r} {caught.value.hint}"
            assert "hunter2" not in shown
            assert secret not in shown


@pytest.mark.parametrize("code", ["DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN"])
async def test_distribution_that_does_not_see_for_a_moment_what_somebody_else_pushes_too_is_asked_again(code: str) -> None:
    async with serve(FakeRegistry()) as fake:
        fake.answers.extend([answering(400, code), answering(400, code)])
        assert await put(fake) == DIGEST

    assert fake.requests == ["PUT /v2/team/app/manifests/1.0"] * 3


async def test_registry_that_never_gets_to_know_a_part_of_the_manifest_is_told_after_the_last_try() -> None:
    async with serve(FakeRegistry()) as fake:
        fake.answers.extend([answering(400, "MANIFEST_BLOB_UNKNOWN")] * (AT_ONCE.attempts + 1))
        with pytest.raises(RegistryError, match="MANIFEST_BLOB_UNKNOWN: told to"):
            await put(fake)

    assert len(fake.requests) == AT_ONCE.attempts


async def test_registry_that_finds_the_manifest_itself_invalid_is_asked_once() -> None:
    async with serve(FakeRegistry()) as fake:
        fake.answers.extend([answering(400, "MANIFEST_INVALID")] * 2)
        with pytest.raises(RegistryError, match="MANIFEST_INVALID"):
            await put(fake)

    assert len(fake.requests) == 1
