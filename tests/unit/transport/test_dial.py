"""TLS as a carrier, and what is made of a peer's first bytes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kubectl_build.errors import ConnectionLost, DialError
from kubectl_build.model.stream import ByteStream
from kubectl_build.transport.addresses import TcpAddress, TlsFiles, UnixAddress
from kubectl_build.transport.dial import address_dialer
from kubectl_build.transport.sockets import SocketStream
from kubectl_build.transport.tls import TlsStream, tls_dialer
from tests.fakes.byte_stream import check_byte_stream, receive_exactly
from tests.fakes.certificates import Certificates, make_certificates
from tests.fakes.serving import serving

SETTINGS = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@asynccontextmanager
async def tls_pair(certificates: Certificates) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    accepted: asyncio.Queue[TlsStream] = asyncio.Queue()
    cert, key = certificates.client
    files = TlsFiles(ca=certificates.ca, cert=cert, key=key, server_name="api.example")

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.put_nowait(TlsStream(reader, writer, "near", files))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=certificates.server_context(ask_client=True))
    async with server:
        near = await tls_dialer("127.0.0.1", server.sockets[0].getsockname()[1], files)()
        far = await accepted.get()
        try:
            yield near, far
        finally:
            await near.aclose()
            await far.aclose()


async def test_tls_stream_keeps_the_contract(certificates: Certificates) -> None:
    await check_byte_stream(lambda: tls_pair(certificates), half_close=False)


async def test_tls_dialer_asks_for_http2(certificates: Certificates) -> None:
    context = certificates.server_context()
    context.set_alpn_protocols(["http/1.1", "h2"])
    chosen: asyncio.Queue[str | None] = asyncio.Queue()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chosen.put_nowait(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await reader.read()

    async with serving(accept, tls=context) as port:
        stream = await tls_dialer("127.0.0.1", port, TlsFiles(ca=certificates.ca))()

        assert await chosen.get() == "h2"
        await stream.aclose()


@asynccontextmanager
async def dialed(folder: Path) -> AsyncIterator[tuple[ByteStream, SocketStream]]:
    """A stream to a unix socket as daemons are dialled, and the other end."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s"))
        listener.listen()
        near = await address_dialer(UnixAddress(path=str(folder / "s")))()
        far = SocketStream(listener.accept()[0], "near")
        try:
            yield near, far
        finally:
            await near.aclose()
            await far.aclose()


async def test_first_frame_in_pieces_is_passed_on_whole(tmp_path: Path) -> None:
    async with dialed(tmp_path) as (near, far):
        reading = asyncio.create_task(receive_exactly(near, len(SETTINGS)))
        for byte in SETTINGS:
            await far.send(bytes([byte]))

        assert await reading == SETTINGS
        await far.send(b"anything")
        assert await receive_exactly(near, 8) == b"anything"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "it does not speak HTTP/2"),
        (b"short", "it does not speak HTTP/2"),
        (b"\x15\x03\x01\0\x02\x02\x46", "it wants TLS"),
        (b"\0\0\x06\x04\0\0\0\0\x01" + bytes(6), "it does not speak HTTP/2"),
    ],
)
async def test_first_bytes_of_something_else_are_told(tmp_path: Path, said: bytes, why: str) -> None:
    async with dialed(tmp_path) as (near, far):
        await far.send(said)
        await far.send_eof()

        with pytest.raises(DialError) as caught:
            await near.receive()

    assert caught.value.message == f"what listens at unix://{tmp_path}/s is no BuildKit daemon: {why}"
    assert not caught.value.transient


async def test_end_before_the_first_byte_is_a_dial_error_that_may_be_tried_again(tmp_path: Path) -> None:
    async with dialed(tmp_path) as (near, far):
        await far.aclose()

        with pytest.raises(DialError, match="ended the connection without an answer") as caught:
            await near.receive()

    assert caught.value.transient


async def test_end_after_the_first_frame_is_the_end_of_the_stream(tmp_path: Path) -> None:
    async with dialed(tmp_path) as (near, far):
        await far.send(SETTINGS)
        await receive_exactly(near, len(SETTINGS))
        await far.aclose()

        assert await near.receive() == b""


async def test_stream_closed_while_it_waits_for_the_first_byte_wakes(tmp_path: Path) -> None:
    async with dialed(tmp_path) as (near, _):
        waiting = asyncio.create_task(near.receive())
        await asyncio.wait([waiting], timeout=0.01)
        await near.aclose()

        with pytest.raises(ConnectionLost):
            await waiting


async def test_plain_tcp_address_that_hangs_up_hints_at_tls() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = await address_dialer(TcpAddress(host="127.0.0.1", port=listener.getsockname()[1]))()
        listener.accept()[0].close()

        with pytest.raises(DialError) as caught:
            await near.receive()
        await near.aclose()

    assert "?cacert=FILE" in (caught.value.hint or "")
