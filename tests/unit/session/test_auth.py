from __future__ import annotations

from kubectl_build.errors import ConfigError, RegistryError
from kubectl_build.model.credentials import Credentials
from kubectl_build.model.tokens import Token, TokenRequest
from kubectl_build.proto.auth_pb2 import (
    CredentialsRequest,
    CredentialsResponse,
    FetchTokenRequest,
    FetchTokenResponse,
    GetTokenAuthorityRequest,
    GetTokenAuthorityResponse,
)
from kubectl_build.session.auth import Auth
from kubectl_build.session.rpc import PERMISSION_DENIED, UNIMPLEMENTED, UNKNOWN
from kubectl_build.session.session import Session
from tests.unit.session.peer import Peer, served

_SERVICE = "/moby.filesync.v1.Auth/"
_METHOD = _SERVICE + "Credentials"
_KNOWN = ("known.example:5000", "basic.example", "gone.example")


class _Keychain:
    async def resolve(self, host: str, repository: str = "") -> Credentials | None:
        if host == "ready.example":
            return Credentials(username="", secret="", registry_token="a ready token")
        if host == "broken.example":
            raise ConfigError("the helper failed")
        return Credentials(username="me", secret="word") if host in _KNOWN else None


async def _ask(session: Session, host: str) -> tuple[tuple[int, str], CredentialsResponse]:
    async with served(session) as peer:
        call = await peer.call(_METHOD, CredentialsRequest(Host=host).SerializeToString())
        status = await peer.finished(call)
        return status, CredentialsResponse.FromString(call.messages[0]) if call.messages else CredentialsResponse()


async def test_known_host_gets_its_login() -> None:
    status, answer = await _ask(Session(shared_key="", attachables=[Auth(_Keychain())]), "known.example:5000")

    assert (status, answer.Username, answer.Secret) == ((0, ""), "me", "word")


async def test_unknown_host_is_anonymous() -> None:
    status, answer = await _ask(Session(shared_key="", attachables=[Auth(_Keychain())]), "other.example")

    assert (status, answer.Username, answer.Secret) == ((0, ""), "", "")


async def test_keychain_that_fails_is_the_sessions_failure() -> None:
    session = Session(shared_key="", attachables=[Auth(_Keychain())])

    status, _ = await _ask(session, "broken.example")

    assert status == (UNKNOWN, "the helper failed")
    assert isinstance(session.failure, ConfigError)


class _Tokens:
    """A TokenFetcher that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[TokenRequest, Credentials | None]] = []
        self.probed: list[str] = []

    async def takes_tokens(self, host: str) -> bool:
        self.probed.append(host)
        if host == "gone.example":
            raise RegistryError("nobody answers")
        return host == "known.example:5000"

    async def fetch(self, request: TokenRequest, credentials: Credentials | None) -> Token:
        self.asked.append((request, credentials))
        if request.realm == "bad":
            raise RegistryError("the server refused")
        return Token(value="a token", expires_in=300, issued_at=77)


async def _fetch(peer: Peer, host: str, realm: str = "realm") -> tuple[tuple[int, str], FetchTokenResponse]:
    request = FetchTokenRequest(ClientID="buildkit-client", Host=host, Realm=realm, Service="service", Scopes=["repository:a/b:pull"])
    call = await peer.call(_SERVICE + "FetchToken", request.SerializeToString())
    status = await peer.finished(call)
    return status, FetchTokenResponse.FromString(call.messages[0]) if call.messages else FetchTokenResponse()


async def test_without_a_fetcher_tokens_are_not_served() -> None:
    async with served(Session(shared_key="", attachables=[Auth(_Keychain())])) as peer:
        for method in ("GetTokenAuthority", "VerifyTokenAuthority", "FetchToken"):
            assert (await peer.finished(await peer.call(_SERVICE + method, b"")))[0] == UNIMPLEMENTED


async def test_token_authority_is_a_key_that_is_new_each_time() -> None:
    keys = set()
    async with served(Session(shared_key="", attachables=[Auth(_Keychain(), _Tokens())])) as peer:
        for _ in range(3):
            request = GetTokenAuthorityRequest(Host="known.example:5000", Salt=b"salt")
            call = await peer.call(_SERVICE + "GetTokenAuthority", request.SerializeToString())
            assert await peer.finished(call) == (0, "")
            keys.add(GetTokenAuthorityResponse.FromString(call.messages[0]).PublicKey)
        verify = await peer.call(_SERVICE + "VerifyTokenAuthority", b"")
        assert (await peer.finished(verify))[0] == UNIMPLEMENTED

    assert [len(key) for key in keys] == [32, 32, 32]


async def test_token_is_fetched_with_the_hosts_login_which_then_stays_here() -> None:
    tokens = _Tokens()
    session = Session(shared_key="", attachables=[Auth(_Keychain(), tokens)])
    async with served(session) as peer:
        status, answer = await _fetch(peer, "known.example:5000")
        call = await peer.call(_METHOD, CredentialsRequest(Host="known.example:5000").SerializeToString())
        refused = await peer.finished(call)

    assert (status, answer.Token, answer.ExpiresIn, answer.IssuedAt) == ((0, ""), "a token", 300, 77)
    ((request, credentials),) = tokens.asked
    assert request == TokenRequest(host="known.example:5000", realm="realm", service="service", scopes=("repository:a/b:pull",))
    assert credentials is not None
    assert (credentials.username, credentials.secret) == ("me", "word")
    assert refused == (PERMISSION_DENIED, "the login for known.example:5000 stays with the client, which fetches its tokens")
    assert session.failure is None


async def test_login_of_a_registry_that_takes_tokens_stays_here() -> None:
    tokens = _Tokens()
    auth = Auth(_Keychain(), tokens)
    for _ in range(2):
        status, _ = await _ask(Session(shared_key="", attachables=[auth]), "known.example:5000")
        assert status == (PERMISSION_DENIED, "the login for known.example:5000 stays with the client, which fetches its tokens")

    assert tokens.probed == ["known.example:5000"]


async def test_login_of_a_registry_that_knows_no_tokens_is_given() -> None:
    session = Session(shared_key="", attachables=[Auth(_Keychain(), _Tokens())])
    status, answer = await _ask(session, "basic.example")

    assert (status, answer.Username, answer.Secret) == ((0, ""), "me", "word")


async def test_login_of_a_registry_that_does_not_answer_stays_here() -> None:
    status, _ = await _ask(Session(shared_key="", attachables=[Auth(_Keychain(), _Tokens())]), "gone.example")

    message = "the login for gone.example stays with the client, which cannot see whether tokens would do: nobody answers"
    assert status == (PERMISSION_DENIED, message)


async def test_host_without_a_login_is_anonymous_and_not_asked_for_tokens() -> None:
    tokens = _Tokens()
    status, answer = await _ask(Session(shared_key="", attachables=[Auth(_Keychain(), tokens)]), "other.example")

    assert (status, answer.Username, answer.Secret, tokens.probed) == ((0, ""), "", "", [])


async def test_token_for_everybody_is_fetched_without_a_login() -> None:
    tokens = _Tokens()
    async with served(Session(shared_key="", attachables=[Auth(_Keychain(), tokens)])) as peer:
        assert (await _fetch(peer, "other.example"))[0] == (0, "")

    assert [credentials for _, credentials in tokens.asked] == [None]


async def test_ready_token_of_a_config_is_handed_over_as_it_is() -> None:
    tokens = _Tokens()
    async with served(Session(shared_key="", attachables=[Auth(_Keychain(), tokens)])) as peer:
        _, answer = await _fetch(peer, "ready.example")

    assert (answer.Token, answer.ExpiresIn, answer.IssuedAt) == ("a ready token", 60, 0)
    assert tokens.asked == []


async def test_token_that_is_refused_is_told_to_the_daemon_in_its_own_words() -> None:
    session = Session(shared_key="", attachables=[Auth(_Keychain(), _Tokens())])
    async with served(session) as peer:
        known, _ = await _fetch(peer, "known.example:5000", "bad")
        other, _ = await _fetch(peer, "other.example", "bad")

    assert known == (UNKNOWN, "failed to fetch oauth token: the server refused")
    assert other == (UNKNOWN, "failed to fetch anonymous token: the server refused")
    assert session.failure is None
