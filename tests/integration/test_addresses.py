"""Daemons by address: unix, TCP, TCP with certificates both ways, and what is said when it cannot be."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from kubectl_build.buildkit import Output, OutputType, open_daemon
from kubectl_build.errors import DialError, UsageError
from tests.fakes.certificates import Certificates, make_certificates
from tests.fakes.serving import serving
from tests.integration.buildkitd import running_buildkitd

pytestmark = pytest.mark.integration


@dataclass(frozen=True, slots=True)
class Guarded:
    """A daemon that takes only clients of its authority, and another authority's certificates."""

    port: int
    own: Certificates
    other: Certificates

    def address(self, *, ca: Path | None = None, client: Certificates | None = None, **options: str | Path) -> str:
        given: dict[str, str | Path] = {"cacert": ca} if ca else {}
        if client is not None:
            given |= {"cert": client.client[0], "key": client.client[1]}
        return self.address_with({**given, **options})

    def address_with(self, options: Mapping[str, str | Path]) -> str:
        return f"tcp://127.0.0.1:{self.port}?{'&'.join(f'{name}={value}' for name, value in options.items())}"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    if os.geteuid() != 0:
        pytest.skip("buildkitd needs root here")
    own, other = (make_certificates(tmp_path_factory.mktemp(name)) for name in ("own", "other"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = [
        f"--addr=tcp://127.0.0.1:{port}",
        f"--tlscacert={own.ca}",
        f"--tlscert={own.folder / 'server.crt'}",
        f"--tlskey={own.folder / 'server.key'}",
    ]
    with running_buildkitd(tmp_path_factory.mktemp("guarded"), arguments):
        yield Guarded(port, own, other)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY big /\n")
    (folder / "big").write_bytes(os.urandom(3 << 20))
    return folder


async def build(address: str, context: Path) -> None:
    """Build there, and compare the file that comes back with the one that went."""
    out = context.parent / "out"
    async with open_daemon(address) as daemon:
        await daemon.build(context, outputs=[Output(type=OutputType.LOCAL, dest=str(out))])
    assert (out / "big").read_bytes() == (context / "big").read_bytes()


async def refusal(address: str) -> DialError:
    """Why the daemon at `address` cannot be reached."""
    with pytest.raises(DialError) as caught:
        async with open_daemon(address):
            pass
    return caught.value


async def test_unix_address_builds(buildkitd: Path, context: Path) -> None:
    await build(f"unix://{buildkitd}", context)


async def test_tcp_address_builds(buildkitd: Path, context: Path) -> None:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(buildkitd)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(1 << 16):
                sink.write(data)
                await sink.drain()
            sink.close()

        try:
            await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer), return_exceptions=True)
        finally:
            far_writer.close()

    async with serving(relay) as port:
        await build(f"tcp://localhost:{port}", context)


async def test_tcp_address_with_certificates_builds(guarded: Guarded, context: Path) -> None:
    await build(guarded.address(ca=guarded.own.ca, client=guarded.own), context)


async def test_tcp_address_with_the_certificates_own_name_builds(guarded: Guarded, context: Path) -> None:
    await build(guarded.address(ca=guarded.own.ca, client=guarded.own, servername="api.example"), context)


async def test_wrong_authority_is_told(guarded: Guarded) -> None:
    error = await refusal(guarded.address(ca=guarded.other.ca, client=guarded.own))

    assert error.message == f"the certificate of 127.0.0.1:{guarded.port} is not trusted: unable to get local issuer certificate"
    assert "cacert=" in (error.hint or "")
    assert not error.transient


async def test_systems_authorities_do_not_do(guarded: Guarded) -> None:
    error = await refusal(guarded.address(servername="api.example"))

    assert f"the certificate of 127.0.0.1:{guarded.port} is not trusted" in error.message


async def test_wrong_server_name_is_told(guarded: Guarded) -> None:
    error = await refusal(guarded.address(ca=guarded.own.ca, client=guarded.own, servername="else.example"))

    assert error.message.endswith("hostname mismatch, certificate is not valid for 'else.example'")


async def test_missing_client_certificate_is_told(guarded: Guarded) -> None:
    error = await refusal(guarded.address(ca=guarded.own.ca))

    assert error.message.startswith(f"127.0.0.1:{guarded.port} ")
    assert error.message.endswith("wants a client certificate")
    assert error.hint == "give it with cert= and key="


async def test_client_certificate_of_another_authority_is_told(guarded: Guarded) -> None:
    error = await refusal(guarded.address(ca=guarded.own.ca, client=guarded.other))

    assert f'does not accept the client certificate "{guarded.other.client[0]}"' in error.message


async def test_plain_connection_to_a_tls_port_says_how_to_use_tls(guarded: Guarded) -> None:
    error = await refusal(f"tcp://127.0.0.1:{guarded.port}")

    assert str(guarded.port) in error.message
    assert "cacert=FILE" in (error.hint or "")


async def test_tls_connection_to_a_plain_port_is_told(guarded: Guarded) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(5)
        writer.write(b"\0\0\x12\x04\0\0\0\0\0")
        await writer.drain()

    async with serving(answer) as port:
        error = await refusal(f"tcp://127.0.0.1:{port}?cacert={guarded.own.ca}")

    assert error.message == f"127.0.0.1:{port} does not speak TLS"


async def test_refused_port_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        error = await refusal(f"tcp://127.0.0.1:{port}")

    assert error.message == f"cannot connect to 127.0.0.1:{port}: connection refused"


async def test_unknown_host_is_told() -> None:
    error = await refusal("tcp://nowhere.invalid:1234")

    assert 'the name "nowhere.invalid" is not known' in error.message


async def test_server_that_is_no_buildkit_is_told() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with serving(answer) as port:
        error = await refusal(f"tcp://127.0.0.1:{port}")

    assert error.message == f"what listens at tcp://127.0.0.1:{port} is no BuildKit daemon: it does not speak HTTP/2"
    assert not error.transient


async def test_grpc_server_without_buildkits_services_is_told(tmp_path: Path) -> None:
    import grpc.aio

    server = grpc.aio.server()
    server.add_insecure_port(f"unix:{tmp_path}/grpc")
    await server.start()
    try:
        error = await refusal(f"unix://{tmp_path}/grpc")
    finally:
        await server.stop(None)

    assert "no BuildKit daemon" in error.message


async def test_server_that_hangs_up_is_told() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async with serving(answer) as port:
        error = await refusal(f"tcp://127.0.0.1:{port}")

    assert f"tcp://127.0.0.1:{port}" in error.message


async def test_server_that_is_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECTL_BUILD_DEADLINES", "answer=500ms")
    ended = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        ended.set()

    async with serving(answer) as port:
        error = await refusal(f"tcp://127.0.0.1:{port}")
        await asyncio.wait_for(ended.wait(), 10)

    assert error.message.startswith(f"tcp://127.0.0.1:{port} took the connection, but did not answer within")


@pytest.mark.parametrize("option", ["cacert", "cert", "key"])
async def test_file_that_is_missing_is_named(guarded: Guarded, tmp_path: Path, option: str) -> None:
    files = {"cacert": guarded.own.ca, "cert": guarded.own.client[0], "key": guarded.own.client[1], option: tmp_path / "nothing"}

    with pytest.raises(UsageError) as caught:
        async with open_daemon(guarded.address_with(files)):
            pass

    assert caught.value.message == f'{option} "{tmp_path}/nothing" cannot be read: no such file or directory'


async def test_file_that_is_no_certificate_is_named(guarded: Guarded, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")

    with pytest.raises(UsageError) as caught:
        async with open_daemon(guarded.address(ca=tmp_path / "text")):
            pass

    assert caught.value.message == f'cacert "{tmp_path}/text" has no certificate in PEM'


async def test_key_of_another_certificate_is_told(guarded: Guarded) -> None:
    certificate, key = guarded.own.client[0], guarded.other.client[1]

    with pytest.raises(UsageError) as caught:
        async with open_daemon(guarded.address(ca=guarded.own.ca, cert=certificate, key=key)):
            pass

    assert caught.value.message.startswith(f'cert "{certificate}" and key "{key}" cannot be used together')
