"""grpcio, for which the bridge exists, works through it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest

from kubectl_build.errors import DialError
from kubectl_build.model.stream import ByteStream
from kubectl_build.transport.bridge import bridge
from kubectl_build.transport.sockets import unix_dialer


async def _echo(requests: Any, context: Any) -> None:
    async for request in requests:
        await context.write(request)


async def test_bridge_carries_grpc_both_ways(tmp_path: Path) -> None:
    handler = grpc.stream_stream_rpc_method_handler(_echo)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {"Echo": handler}),))
    server.add_insecure_port(f"unix:{tmp_path / 'daemon'}")
    await server.start()
    blob = bytes(range(256)) * 4096
    try:
        async with bridge(unix_dialer(str(tmp_path / "daemon"))) as it, grpc.aio.insecure_channel(it.target) as channel:
            call = channel.stream_stream("/test.Echo/Echo")()
            for _ in range(20):
                await call.write(blob)
                assert await call.read() == blob
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
        assert it.failure is None
    finally:
        await server.stop(None)


async def test_bridge_keeps_the_reason_that_grpc_does_not_see() -> None:
    failure = DialError("no pod")

    async def dial() -> ByteStream:
        raise failure

    async with bridge(dial) as it, grpc.aio.insecure_channel(it.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/test.Echo/Once")(b"")

        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert it.failure is failure
