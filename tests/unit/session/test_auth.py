from __future__ import annotations

from kubectl_build.errors import ConfigError
from kubectl_build.model.credentials import Credentials
from kubectl_build.proto.auth_pb2 import CredentialsRequest, CredentialsResponse
from kubectl_build.session.auth import Auth
from kubectl_build.session.rpc import UNKNOWN
from kubectl_build.session.session import Session
from tests.unit.session.peer import served

_METHOD = "/moby.filesync.v1.Auth/Credentials"


class _Keychain:
    async def resolve(self, host: str, repository: str = "") -> Credentials | None:
        if host == "broken.example":
            raise ConfigError("the helper failed")
        return Credentials(username="me", secret="word") if host == "known.example:5000" else None


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
