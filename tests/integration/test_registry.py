"""registry.client against Debian's docker-registry: TLS by its own CA, a password, plain HTTP."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from kubectl_build.errors import RegistryError
from kubectl_build.model.credentials import Credentials
from kubectl_build.model.digest import MEDIA_TYPE_INDEX, sha256_digest
from kubectl_build.model.stream import Dialer
from kubectl_build.registry.client import RegistryTrust, open_registry
from kubectl_build.transport.sockets import tcp_direct_dialer
from tests.cluster import tools
from tests.cluster.registries import Kind, Registry, run_registry

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]  # the first run may fetch the registry

INDEX = json.dumps({"schemaVersion": 2, "mediaType": MEDIA_TYPE_INDEX, "manifests": []}).encode()
DIGEST = sha256_digest(INDEX)


class Nobody:
    """The anonymous keychain."""

    async def resolve(self, host: str, repository: str = "") -> Credentials | None:
        return None


class Somebody:
    """The same login for every registry."""

    def __init__(self, user: str, password: str) -> None:
        self._credentials = Credentials(username=user, secret=password)

    async def resolve(self, host: str, repository: str = "") -> Credentials | None:
        return self._credentials


def free_address() -> str:
    """A port of this machine that nobody has just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    binary = tools.ensure(["docker-registry"])["docker-registry"]
    with run_registry(Kind.AUTHENTICATED, tmp_path_factory.mktemp("guarded"), free_address(), binary=binary) as registry:
        yield registry


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    binary = tools.ensure(["docker-registry"])["docker-registry"]
    with run_registry(Kind.INSECURE, tmp_path_factory.mktemp("plain"), free_address(), binary=binary) as registry:
        yield registry


def trust(registry: Registry) -> RegistryTrust:
    return RegistryTrust(ca_pem=registry.ca.read_text() if registry.ca else "")


@pytest.mark.parametrize("dialled", [False, True], ids=["directly", "through a stream"])
async def test_index_put_with_tls_and_a_password_is_read_back(guarded: Registry, dialled: bool) -> None:
    dial = tcp_direct_dialer if dialled else None
    keychain = Somebody(guarded.user, guarded.password)
    async with open_registry(guarded.address, keychain=keychain, trust=trust(guarded), dial=dial) as registry:
        assert await registry.put_manifest("team/app", "1.0", INDEX, MEDIA_TYPE_INDEX) == DIGEST
        assert await registry.get_manifest("team/app", "1.0") == (INDEX, MEDIA_TYPE_INDEX, DIGEST)
        assert await registry.head_manifest("team/app", "other") is None


@pytest.mark.parametrize(
    ("keychain", "message"),
    [(Nobody(), "and there is none"), (Somebody("builder", "wrong"), "does not accept the login")],
)
async def test_index_put_without_the_right_password_is_unauthorized(guarded: Registry, keychain: Nobody | Somebody, message: str) -> None:
    async with open_registry(guarded.address, keychain=keychain, trust=trust(guarded)) as registry:
        with pytest.raises(RegistryError, match=message) as caught:
            await registry.put_manifest("team/app", "1.0", INDEX, MEDIA_TYPE_INDEX)

    assert (caught.value.status, caught.value.code) == (401, "UNAUTHORIZED")


async def test_registry_with_an_unknown_ca_is_not_trusted(guarded: Registry) -> None:
    async with open_registry(guarded.address, keychain=Somebody(guarded.user, guarded.password)) as registry:
        with pytest.raises(RegistryError, match="is not trusted"):
            await registry.put_manifest("team/app", "1.0", INDEX, MEDIA_TYPE_INDEX)


async def test_plain_http_is_spoken_where_it_is_allowed(plain: Registry) -> None:
    for allowed in (RegistryTrust(http=True), RegistryTrust(insecure=True), RegistryTrust()):
        async with open_registry(plain.address, keychain=Nobody(), trust=allowed) as registry:
            assert await registry.put_manifest("team/app", "1.0", INDEX, MEDIA_TYPE_INDEX) == DIGEST


async def test_plain_http_of_another_machine_is_refused_and_named(plain: Registry) -> None:
    def elsewhere(host: str, port: int) -> Dialer:
        return tcp_direct_dialer("127.0.0.1", int(plain.address.rpartition(":")[2]))

    async with open_registry("registry.example:5000", keychain=Nobody(), dial=elsewhere) as registry:
        with pytest.raises(RegistryError, match="answers plain HTTP where HTTPS is expected") as caught:
            await registry.put_manifest("team/app", "1.0", INDEX, MEDIA_TYPE_INDEX)

    assert "registry.insecure=true" in (caught.value.hint or "")
