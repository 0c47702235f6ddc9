"""What grpcio says becomes an error of ours."""

from __future__ import annotations

from pathlib import Path

import grpc.aio
import pytest

from kubectl_build.buildkit.client import connect
from kubectl_build.errors import ConnectionLost
from tests.fakes.daemon import FakeDaemon, serve_daemon


async def test_write_to_a_call_that_has_ended_is_a_lost_connection(tmp_path: Path) -> None:
    async with (
        serve_daemon(FakeDaemon(socket=tmp_path / "socket")) as daemon,
        connect(f"unix:{daemon.socket}", failure=lambda: ConnectionLost("the pod is gone")) as client,
    ):
        call = client.session_call([])  # which this daemon does not know
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED

        with pytest.raises(ConnectionLost, match="the pod is gone"):
            await client.boundary(call.write(b"late"), "the session")
