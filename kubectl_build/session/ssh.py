"""The user's ssh agents for steps of the build: moby.sshforward.v1.SSH.

A step that mounts ssh gets a socket; each connection to it is a call of ForwardAgent, and gets a connection of its own to the agent.
Requests are read before they are passed on: a step may list keys and have them sign, and change nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from kubectl_build.deadlines import deadlines
from kubectl_build.errors import ProtocolError
from kubectl_build.proto.ssh_pb2 import BytesMessage, CheckAgentRequest, CheckAgentResponse
from kubectl_build.session.agent_protocol import FAILURE, MessageCutter, may_pass
from kubectl_build.session.rpc import INVALID_ARGUMENT, UNKNOWN, Handler, RpcError, frame
from kubectl_build.session.stream import ServerStream

_DEFAULT_ID: Final = "default"
_CONNECT_LIMIT: Final = 2.0
"""Seconds for one answer of an agent, which may ask its user for a touch or a password before it signs."""

_READ_SIZE: Final = 32 << 10


class SshForward:
    """Serves agents by id, each a unix socket that an agent listens on. Made by `ssh_agents.open_agents`, which looks after agents."""

    def __init__(self, sockets: Mapping[str, Path]) -> None:
        self._sockets = dict(sockets)
        self.methods: Mapping[str, Handler] = {
            "/moby.sshforward.v1.SSH/CheckAgent": self._check_agent,
            "/moby.sshforward.v1.SSH/ForwardAgent": self._forward_agent,
        }

    def _socket(self, id: str) -> Path:
        id = id or _DEFAULT_ID
        if id not in self._sockets:
            raise RpcError(UNKNOWN, f"unset ssh forward key {id}")  # BuildKit's own words, which users look for
        return self._sockets[id]

    async def _check_agent(self, stream: ServerStream) -> None:
        self._socket(CheckAgentRequest.FromString(await stream.receive_one()).ID)
        await stream.send(frame(CheckAgentResponse().SerializeToString()))

    async def _forward_agent(self, stream: ServerStream) -> None:
        socket = self._socket(next(iter(stream.metadata.get("buildkit.ssh.id", ())), ""))
        requests = MessageCutter()
        try:
            async with _connected(socket) as agent:
                while messages := await stream.receive():
                    for message in messages:
                        for request in requests.feed(BytesMessage.FromString(message).data):
                            answer = await agent.ask(request) if may_pass(request) else FAILURE
                            await stream.send(frame(BytesMessage(data=answer).SerializeToString()))
        except ProtocolError as exc:
            raise RpcError(INVALID_ARGUMENT, exc.message) from exc


class _Agent:
    """A connection to an agent. One request at a time, as the protocol has it."""

    def __init__(self, socket: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._socket = socket
        self._reader = reader
        self._writer = writer
        self._answers = MessageCutter()

    async def ask(self, request: bytes) -> bytes:
        """Return the agent's whole answer; FAILURE when it has hung up. Raises RpcError when it does not answer."""
        try:
            async with asyncio.timeout(deadlines().agent):
                self._writer.write(request)
                await self._writer.drain()
                while data := await self._reader.read(_READ_SIZE):
                    if answers := self._answers.feed(data):
                        return answers[0]
        except TimeoutError as exc:
            raise RpcError(UNKNOWN, f'the ssh agent at "{self._socket}" has not answered for {deadlines().agent:g} s') from exc
        except OSError:
            return FAILURE
        return FAILURE


@asynccontextmanager
async def _connected(socket: Path) -> AsyncIterator[_Agent]:
    try:
        async with asyncio.timeout(_CONNECT_LIMIT):
            reader, writer = await asyncio.open_unix_connection(str(socket))
    except OSError as exc:  # TimeoutError is one
        reason = (exc.strerror or "no answer").lower()
        raise RpcError(UNKNOWN, f'the ssh agent at "{socket}" cannot be reached: {reason}') from exc
    try:
        yield _Agent(socket, reader, writer)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
