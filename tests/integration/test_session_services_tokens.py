"""Who asks for a registry's token when a real buildkitd pushes: the daemon with our login, or this client, which keeps it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc.aio
import pytest

from kubectl_build.model.credentials import Credentials
from kubectl_build.proto.control_pb2 import Exporter
from kubectl_build.registry.tokens import RegistryTokens
from kubectl_build.session.auth import Auth
from kubectl_build.session.filesync import FileSync, LocalDir
from kubectl_build.session.rpc import Handler
from kubectl_build.session.session import Session
from kubectl_build.session.stream import ServerStream
from tests.cluster import tools
from tests.cluster.registries import Kind, Registry, run_registry
from tests.integration.daemon import Daemon
from tests.integration.test_registry import free_address
from tests.integration.token_registry import PASSWORD, USER, TokenRegistry, serve

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]  # the first run may fetch the registry


class _Keychain:
    def __init__(self, credentials: Credentials | None) -> None:
        self._credentials = credentials

    async def resolve(self, host: str, repository: str = "") -> Credentials | None:
        return self._credentials


class _Recorded:
    """An Auth whose calls are noted."""

    def __init__(self, auth: Auth) -> None:
        self.calls: list[str] = []
        self.methods = {method: self._noting(method, handler) for method, handler in auth.methods.items()}

    def _noting(self, method: str, handler: Handler) -> Handler:
        async def note(stream: ServerStream) -> None:
            self.calls.append(method.rpartition("/")[2])
            await handler(stream)

        return note


_ROBOT = Credentials(username=USER, secret=PASSWORD)


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    binary = tools.ensure(["docker-registry"])["docker-registry"]
    with run_registry(Kind.INSECURE, tmp_path_factory.mktemp("behind"), free_address(), binary=binary) as registry:
        yield registry


@pytest.fixture
async def registry(behind: Registry) -> AsyncIterator[TokenRegistry]:
    async with serve(TokenRegistry(behind=behind.address)) as found:
        yield found


async def _build(daemon: Daemon, directory: Path, auth: Auth, dockerfile: str, *exporters: Exporter) -> list[str]:
    """Build and return the calls of Auth."""
    (directory / "Dockerfile").write_text(dockerfile)
    recorded = _Recorded(auth)
    local = LocalDir(directory)
    session = Session(shared_key="", attachables=[FileSync({"context": local, "dockerfile": local}), recorded])
    async with daemon.attached(session):
        await daemon.solve(session, exporters=exporters)
    return recorded.calls


async def _push(daemon: Daemon, registry: TokenRegistry, directory: Path, auth: Auth) -> list[str]:
    """Push an image to team/app; return the calls of Auth."""
    attrs = {"name": f"{registry.address}/team/app:latest", "push": "true"}
    return await _build(daemon, directory, auth, "FROM scratch\nCOPY Dockerfile /\n", Exporter(Type="image", Attrs=attrs))


async def test_push_with_tokens_of_the_client_gives_the_daemon_no_login(daemon: Daemon, registry: TokenRegistry, tmp_path: Path) -> None:
    calls = await _push(daemon, registry, tmp_path, Auth(_Keychain(_ROBOT), RegistryTokens()))

    assert calls[:2] == ["GetTokenAuthority", "FetchToken"]
    assert "Credentials" not in calls
    assert {form["scope"] for form in registry.posts} == {"repository:team/app:pull,push"}
    assert {form["service"] for form in registry.posts} == {"the service"}
    assert (set(registry.agents), registry.gets, registry.refused) == ({"kubectl-build"}, [], 0)


async def test_push_to_a_token_server_without_post_is_done_by_get(daemon: Daemon, registry: TokenRegistry, tmp_path: Path) -> None:
    registry.takes_posts = False

    await _push(daemon, registry, tmp_path, Auth(_Keychain(_ROBOT), RegistryTokens()))

    assert registry.posts == []
    assert {tuple(query) for query in registry.gets} == {(("service", "the service"), ("scope", "repository:team/app:pull,push"))}


async def test_second_build_asks_for_a_token_of_its_own(daemon: Daemon, registry: TokenRegistry, tmp_path: Path) -> None:
    auth = Auth(_Keychain(_ROBOT), RegistryTokens())
    first = await _push(daemon, registry, tmp_path, auth)
    second = await _push(daemon, registry, tmp_path, auth)

    assert first == second == ["GetTokenAuthority", "FetchToken"]
    assert len(registry.posts) == 2


async def test_push_without_tokens_of_the_client_lets_the_daemon_fetch_them(
    daemon: Daemon, registry: TokenRegistry, tmp_path: Path
) -> None:
    calls = await _push(daemon, registry, tmp_path, Auth(_Keychain(_ROBOT)))

    assert set(calls) == {"Credentials"}
    assert registry.gets
    assert all(agent != "kubectl-build" for agent in registry.agents)


@pytest.mark.parametrize(
    ("credentials", "message"),
    [
        (Credentials(username=USER, secret="wrong"), "failed to fetch oauth token: .* does not accept the login"),
        (None, "failed to fetch anonymous token: .* wants a login"),
    ],
    ids=["wrong", "nobody"],
)
async def test_push_with_a_login_that_is_refused_says_so_and_not_the_login(
    daemon: Daemon, registry: TokenRegistry, tmp_path: Path, credentials: Credentials | None, message: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match=message) as caught:
        await _push(daemon, registry, tmp_path, Auth(_Keychain(credentials), RegistryTokens()))

    assert "wrong" not in str(caught.value.details())


async def test_daemon_that_has_anothers_login_is_not_given_that_of_the_client(
    daemon: Daemon, registry: TokenRegistry, tmp_path: Path
) -> None:
    """Before it asks for a token authority, the daemon wants to compare the logins with which other builds pulled the same image."""
    await _push(daemon, registry, tmp_path, Auth(_Keychain(_ROBOT)))
    base = f"FROM {registry.address}/team/app:latest\n"
    others = await _build(daemon, tmp_path, Auth(_Keychain(_ROBOT)), base)

    calls = await _build(daemon, tmp_path, Auth(_Keychain(_ROBOT), RegistryTokens()), base)

    assert set(others) == {"Credentials"}
    assert "Credentials" in calls
    assert calls[-2:] == ["GetTokenAuthority", "FetchToken"]
    assert len(registry.posts) == 1
