"""Every carrier of bytes keeps the contract of ByteStream."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kubectl_build.cluster.client import PODS, open_client
from kubectl_build.errors import ConnectionLost, DialError
from kubectl_build.model.stream import ByteStream
from kubectl_build.transport.pod import PodAddress, tcp_dialer
from kubectl_build.transport.sockets import SocketStream, tcp_direct_dialer, unix_dialer
from tests.fakes.byte_stream import check_byte_stream, memory_pair
from tests.fakes.kube_api import open_fake_kube_api
from tests.fakes.kube_exec import ExecCall


class ExecPeer:
    """The command's end of an exec as a ByteStream: ending our side ends the command."""

    def __init__(self, call: ExecCall) -> None:
        self._call = call
        self.outcome: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    async def receive(self) -> bytes:
        return await self._call.read()

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        for offset in range(0, len(data), 32 * 1024):  # as the kubelet does
            await self._call.write(bytes(data[offset : offset + 32 * 1024]))

    async def send_eof(self) -> None:
        self._finish(0)

    async def aclose(self) -> None:
        self._finish(None)

    def _finish(self, code: int | None) -> None:
        if not self.outcome.done():
            self.outcome.set_result(code)


@asynccontextmanager
async def exec_pair() -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    peers: asyncio.Queue[ExecPeer] = asyncio.Queue()

    async def handler(call: ExecCall) -> int | None:
        peer = ExecPeer(call)
        peers.put_nowait(peer)
        return await peer.outcome

    async with open_fake_kube_api() as api, open_client(api.connection()) as client:
        api.add(PODS, {"metadata": {"name": "p"}})
        api.exec_handler = handler
        near = await tcp_dialer(client, PodAddress(namespace="default", name="p"), "registry", 5000)()
        far = await peers.get()
        try:
            yield near, far
        finally:
            await near.aclose()
            await far.aclose()


@asynccontextmanager
async def unix_pair() -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = str(Path(folder, "s"))
        listener.bind(path)
        listener.listen()
        near = await unix_dialer(path)()
        far = SocketStream(listener.accept()[0], "near")
        try:
            yield near, far
        finally:
            await near.aclose()
            await far.aclose()


@asynccontextmanager
async def tcp_pair() -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = await tcp_direct_dialer("localhost", listener.getsockname()[1])()
        far = SocketStream(listener.accept()[0], "near")
        try:
            yield near, far
        finally:
            await near.aclose()
            await far.aclose()


@pytest.mark.parametrize("make_pair", [memory_pair, unix_pair, tcp_pair, exec_pair])
async def test_stream_of_each_carrier_keeps_the_contract(make_pair: object) -> None:
    await check_byte_stream(make_pair)  # type: ignore[arg-type]  # parametrize loses the type


async def test_unix_dialer_without_a_listener_names_path_and_cause(tmp_path: Path) -> None:
    with pytest.raises(DialError) as caught:
        await unix_dialer(str(tmp_path / "none"))()

    assert caught.value.message == f"cannot connect to {tmp_path / 'none'}: no such file or directory"


async def test_tcp_dialer_to_a_closed_port_names_address_and_cause() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(DialError) as caught:
        await tcp_direct_dialer("127.0.0.1", port)()

    assert caught.value.message == f"cannot connect to 127.0.0.1:{port}: connection refused"


async def test_tcp_dialer_to_an_unknown_name_says_so() -> None:
    with pytest.raises(DialError, match=r'the name "nowhere\.invalid" is not known'):
        await tcp_direct_dialer("nowhere.invalid", 1)()


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".invalid"])
async def test_tcp_dialer_to_what_is_no_name_says_so(host: str) -> None:
    with pytest.raises(DialError, match="is not known"):
        await tcp_direct_dialer(host, 1)()


async def test_socket_stream_reset_by_peer_is_connection_lost() -> None:
    async with tcp_pair() as (near, far):
        await near.send(b"unread")
        assert isinstance(far, SocketStream)
        far._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        far._socket.close()

        with pytest.raises(ConnectionLost, match="connection reset by peer"):
            await near.receive()
