"""Reaching the API server: unreachable ones, TLS, proxies."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from kubectl_build.cluster.authentication import Authentication, ClientCertificate, Fixed
from kubectl_build.cluster.client import PODS, KubeClient, open_client
from kubectl_build.cluster.config import Connection
from kubectl_build.cluster.exec import open_exec
from kubectl_build.cluster.proxy import proxy_for
from kubectl_build.cluster.tls import TlsSettings
from kubectl_build.errors import (
    ApiUnreachable,
    ConfigError,
)
from tests.fakes.certificates import Certificates
from tests.fakes.kube_api import open_fake_kube_api
from tests.fakes.kube_exec import cat
from tests.fakes.proxy import open_fake_proxy
from tests.fakes.serving import serving


async def _list_pods(client: KubeClient) -> None:
    await client.list(PODS)


async def _echo(client: KubeClient) -> None:
    stream = await open_exec(client, pod="p", container="c", command=["cat"])
    await stream.send(b"x")
    assert await stream.receive() == b"x"
    await stream.aclose()


# No answer at all


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


async def test_client_server_down_is_unreachable_with_address_and_cause() -> None:
    server = f"https://127.0.0.1:{_closed_port()}"
    async with open_client(Connection(server=server, context_name="prod")) as client:
        with pytest.raises(ApiUnreachable) as caught:
            await client.list(PODS)

    assert caught.value.message == f"cannot reach the API server {server}: connection refused"
    assert caught.value.hint == 'check the cluster of context "prod", and the network to it'


async def test_client_server_of_an_unknown_name_says_so() -> None:
    async with open_client(Connection(server="https://nowhere.invalid:6443")) as client:
        with pytest.raises(ApiUnreachable, match=r'the name "nowhere\.invalid" is not known'):
            await client.list(PODS)


async def test_client_server_that_never_answers_is_told_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = Connection(server=f"http://127.0.0.1:{listener.getsockname()[1]}", request_timeout=0.2)
        async with open_client(connection) as client:
            with pytest.raises(ApiUnreachable, match=r"did not answer within 0\.2 s"):
                await client.list(PODS)


async def test_client_connection_that_is_never_made_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener whose TLS never speaks stands for a network that swallows everything."""
    monkeypatch.setenv("KUBECTL_BUILD_DEADLINES", "connect=200ms")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with open_client(Connection(server=f"https://127.0.0.1:{listener.getsockname()[1]}")) as client:
            with pytest.raises(ApiUnreachable, match=r"no connection within 0\.2 s"):
                await client.list(PODS)


async def test_client_connection_closed_before_the_answer_is_unreachable() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with serving(hang_up) as port, open_client(Connection(server=f"http://127.0.0.1:{port}")) as client:
        with pytest.raises(ApiUnreachable, match="closed the connection before its answer was complete"):
            await client.list(PODS)


# TLS


def _tls(certificates: Certificates, **changes: Any) -> TlsSettings:
    return TlsSettings(**{"ca": certificates.ca.read_bytes()} | changes)


def _certificate(certificates: Certificates) -> ClientCertificate:
    chain, key = certificates.client
    return ClientCertificate(chain.read_bytes(), key.read_bytes())


async def test_client_over_tls_with_a_client_certificate_also_execs(certificates: Certificates) -> None:
    async with open_fake_kube_api(tls=certificates.server_context(ask_client=True)) as api:
        api.add(PODS, {"metadata": {"name": "p"}})
        api.exec_handler = cat
        identity = Fixed(Authentication(certificate=_certificate(certificates)))
        async with open_client(api.connection(tls=_tls(certificates), authenticator=identity)) as client:
            await _list_pods(client)
            await _echo(client)


async def test_client_over_tls_checks_authority_and_name(certificates: Certificates) -> None:
    async with open_fake_kube_api(tls=certificates.server_context()) as api:
        async with open_client(api.connection(tls=TlsSettings())) as client:
            with pytest.raises(ApiUnreachable, match=r"is not trusted: .*certificate") as caught:
                await client.list(PODS)
        assert caught.value.hint == "check certificate-authority and tls-server-name of the kubeconfig's cluster"
        async with open_client(api.connection(tls=_tls(certificates, server_name="wrong.example"))) as client:
            with pytest.raises(ApiUnreachable, match=r"is not trusted: .*wrong\.example"):
                await client.list(PODS)
        for good in (_tls(certificates), _tls(certificates, server_name="api.example"), TlsSettings(insecure=True)):
            async with open_client(api.connection(tls=good)) as client:
                assert (await client.list(PODS)).items == []


async def test_client_server_name_is_used_for_exec_and_behind_a_proxy(certificates: Certificates) -> None:
    async with open_fake_kube_api(tls=certificates.server_context()) as api, open_fake_proxy(int(api.url.rpartition(":")[2])) as proxy:
        api.add(PODS, {"metadata": {"name": "p"}})
        api.exec_handler = cat
        changes = {"server": "https://elsewhere.invalid:6443", "proxy_url": proxy.url, "tls": _tls(certificates, server_name="api.example")}
        async with open_client(api.connection(**changes)) as client:
            await _list_pods(client)
            await _echo(client)

    assert set(proxy.asked) == {"elsewhere.invalid:6443"}


async def test_client_proxy_that_refuses_or_is_down_is_named_without_its_password(certificates: Certificates) -> None:
    async with open_fake_proxy(1) as proxy:
        proxy.answer = 403
        address = proxy.url.replace("://", "://user:hush@")
        connection = Connection(server="https://api.example", proxy_url=address)
        async with open_client(connection) as client:
            with pytest.raises(ApiUnreachable) as caught:
                await client.list(PODS)
    assert caught.value.message == f"the proxy {proxy.url} does not lead to the API server https://api.example: it answered 403"

    async with open_client(connection) as client:
        with pytest.raises(ApiUnreachable) as caught:
            await client.list(PODS)
    assert caught.value.message == f"cannot reach the proxy {proxy.url} to the API server https://api.example: connection refused"


@pytest.mark.parametrize("broken", ["ca", "chain", "key"])
async def test_client_pem_that_is_none_is_a_config_error(certificates: Certificates, broken: str, tmp_path: Any) -> None:
    good = _certificate(certificates)
    certificate = ClientCertificate(b"x" if broken == "chain" else good.chain, b"x" if broken == "key" else good.key)
    tls = _tls(certificates, ca=b"x") if broken == "ca" else _tls(certificates)
    connection = Connection(server="https://127.0.0.1:1", tls=tls, authenticator=Fixed(Authentication(certificate=certificate)))
    async with open_client(connection) as client:
        with pytest.raises(ConfigError):
            await client.list(PODS)


async def test_client_leaves_no_key_on_disk(certificates: Certificates, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    async with open_fake_kube_api(tls=certificates.server_context(ask_client=True)) as api:
        identity = Fixed(Authentication(certificate=_certificate(certificates)))
        async with open_client(api.connection(tls=_tls(certificates), authenticator=identity)) as client:
            await _list_pods(client)
            assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("server", "environ", "expected"),
    [
        ("https://h", {}, None),
        ("https://h", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://h", {"https_proxy": "p:1"}, "http://p:1"),
        ("http://h", {"HTTPS_PROXY": "http://p:1"}, None),
        ("http://h", {"HTTP_PROXY": "http://p:1"}, "http://p:1"),
        ("https://127.0.0.1:6443", {"HTTPS_PROXY": "http://p:1"}, None),
        ("https://localhost", {"HTTPS_PROXY": "http://p:1"}, None),
        ("https://h", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
        ("https://h", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "h:²,h:99999999,i:"}, "http://p:1"),
        ("https://a.example.com", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "x, example.com"}, None),
        ("https://example.com", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example.com"}, None),
        ("https://example.com", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": ".example.com"}, "http://p:1"),
        ("https://a.example.com", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*.example.com"}, None),
        ("https://badexample.com", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example.com"}, "http://p:1"),
        ("https://10.1.2.3", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, None),
        ("https://11.1.2.3", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8,nonsense/x"}, "http://p:1"),
        ("https://10.1.2.3", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.1.2.3"}, None),
        ("https://h:6443", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "h:443"}, "http://p:1"),
        ("https://h:6443", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "h:6443"}, None),
        ("https://[fd00::1]:6443", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "fd00::/8"}, None),
    ],
)
def test_proxy_for_follows_the_environment_as_kubectl_does(server: str, environ: dict[str, str], expected: str | None) -> None:
    assert proxy_for(server, None, environ) == expected


def test_proxy_for_configured_one_wins_over_the_environment() -> None:
    assert proxy_for("https://h", "https://mine:3128", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}) == "https://mine:3128"
