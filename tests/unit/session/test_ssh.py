"""Agents and keys through a session, asked with the protocol of ssh agents."""

from __future__ import annotations

import asyncio
import base64
import os
import select
import shutil
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from kubectl_build.errors import ConfigError, UsageError
from kubectl_build.model.inputs import SshAgent
from kubectl_build.proto.ssh_pb2 import BytesMessage, CheckAgentRequest
from kubectl_build.session.agent_protocol import FAILURE
from kubectl_build.session.rpc import INVALID_ARGUMENT, UNKNOWN
from kubectl_build.session.session import Session
from kubectl_build.session.ssh import SshForward
from kubectl_build.session.ssh_agents import check_agents, open_agents
from tests.fakes.serving import serving
from tests.unit.session.peer import Call, Peer, served
from tests.unit.session.ssh_keys import make_key, running_agent, ssh_add

_SERVICE = "/moby.sshforward.v1.SSH/"
_LIST = b"\0\0\0\1\x0b"
_REMOVE_ALL = b"\0\0\0\1\x13"
_KINDS = (
    ("-t", "ed25519"),
    ("-t", "rsa", "-b", "2048"),
    ("-t", "rsa", "-b", "2048", "-m", "PEM"),
    ("-t", "ecdsa", "-m", "PKCS8"),
)


@asynccontextmanager
async def _peer(agents: Sequence[SshAgent]) -> AsyncIterator[Peer]:
    async with open_agents(agents) as forward, served(Session(shared_key="", attachables=[forward])) as peer:
        yield peer


async def _connect(peer: Peer, id: str = "default") -> Call:
    return await peer.call(_SERVICE + "ForwardAgent", headers=[("buildkit.ssh.id", id)] if id else [], end=False)


async def _ask(peer: Peer, call: Call, request: bytes) -> bytes:
    """Send a request and return the answer's bytes."""
    call.messages.clear()
    await peer.send(call, BytesMessage(data=request).SerializeToString())
    await peer.pump(lambda: call.messages)
    return b"".join(BytesMessage.FromString(message).data for message in call.messages)


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _blob(public: bytes) -> bytes:
    return base64.b64decode(public)


async def test_agent_of_the_environment_lists_and_signs_and_takes_no_other_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, public = make_key(tmp_path, "key")
    with running_agent(tmp_path / "agent", key) as sock:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(sock))
        async with _peer([SshAgent(id="default")]) as peer:
            call = await _connect(peer)
            assert _blob(public) in await _ask(peer, call, _LIST)
            sign = b"\x0d" + _string(_blob(public)) + _string(b"to be signed") + bytes(4)
            signed = await _ask(peer, call, _string(sign))
            assert signed[4] == 14
            assert b"ssh-ed25519" in signed
            assert await _ask(peer, call, _REMOVE_ALL) == FAILURE
            assert await _ask(peer, call, _string(b"\x1b" + _string(b"session-bind@openssh.com"))) == FAILURE
            peer.h2.end_stream(call.id)
            assert await peer.finished(call) == (0, "")
        assert public.decode() in ssh_add(sock, "-L")


async def test_requests_in_pieces_and_in_one_piece_are_answered_in_order(tmp_path: Path) -> None:
    key, public = make_key(tmp_path, "key")
    with running_agent(tmp_path / "agent", key) as sock:
        async with _peer([SshAgent(id="default", paths=(sock,))]) as peer:
            call = await _connect(peer, "")
            whole = await _ask(peer, call, _LIST)
            call.messages.clear()
            pieces = (_REMOVE_ALL + _LIST[:2], _LIST[2:] + _REMOVE_ALL)
            await peer.send(call, *(BytesMessage(data=piece).SerializeToString() for piece in pieces))
            await peer.pump(lambda: len(call.messages) == 3)
            assert _blob(public) in whole
            assert [BytesMessage.FromString(message).data for message in call.messages] == [FAILURE, whole, FAILURE]
            peer.h2.end_stream(call.id)
            await peer.finished(call)


async def test_agents_by_id_and_several_connections_at_once_are_kept_apart(tmp_path: Path) -> None:
    keys = {name: make_key(tmp_path, name) for name in ("one", "two")}
    async with _peer([SshAgent(id=name, paths=(path,)) for name, (path, _) in keys.items()]) as peer:
        calls = [(name, await _connect(peer, name)) for name in ("one", "two", "one")]
        for name, call in reversed(calls):
            listed = await _ask(peer, call, _LIST)
            assert {other: _blob(public) in listed for other, (_, public) in keys.items()} == {"one": name == "one", "two": name == "two"}
        for _, call in calls:
            peer.h2.end_stream(call.id)
            assert await peer.finished(call) == (0, "")


async def test_key_files_of_every_format_are_served_whatever_their_permissions(tmp_path: Path) -> None:
    keys = [make_key(tmp_path, f"key{number}", *options) for number, options in enumerate(_KINDS)]
    odd = keys[0][0].read_bytes().replace(b"\n", b"\r\n").rstrip()
    keys[0][0].write_bytes(odd)
    for path, _ in keys:
        path.chmod(0o644)
    async with _peer([SshAgent(id="default", paths=tuple(path for path, _ in keys))]) as peer:
        call = await _connect(peer)
        listed = await _ask(peer, call, _LIST)
        assert [public in base64.b64encode(listed) or _blob(public) in listed for _, public in keys] == [True] * len(keys)
        peer.h2.end_stream(call.id)
        await peer.finished(call)


async def test_agent_for_key_files_ends_with_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = make_key(tmp_path, "key")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    agents: list[int] = []

    async def build() -> None:
        async with open_agents([SshAgent(id="default", paths=(path,))]):
            (directory,) = tmp_path.glob("kubectl-build-ssh-*")
            assert directory.stat().st_mode & 0o777 == 0o700
            assert [file.name for file in directory.iterdir()] == ["agent"]
            agents.extend(os.pidfd_open(process) for process in _processes_that_name(str(directory)))
            raise RuntimeError("the build failed")

    with pytest.raises(RuntimeError, match="the build failed"):
        await build()

    assert not list(tmp_path.glob("kubectl-build-ssh-*"))
    assert agents
    for agent in agents:
        assert select.select([agent], [], [], 20)[0]
        os.close(agent)


def _processes_that_name(text: str) -> list[int]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if text in file.read_text(errors="replace"):
                found.append(int(file.parent.name))
    return found


async def test_check_agent_knows_which_ids_there_are(tmp_path: Path) -> None:
    forward = SshForward({"default": tmp_path, "deploy": tmp_path})
    async with served(Session(shared_key="", attachables=[forward])) as peer:
        for id, expected in (("", (0, "")), ("deploy", (0, "")), ("other", (UNKNOWN, "unset ssh forward key other"))):
            call = await peer.call(_SERVICE + "CheckAgent", CheckAgentRequest(ID=id).SerializeToString())
            assert await peer.finished(call) == expected


async def test_agent_that_is_gone_is_told_to_the_step(tmp_path: Path) -> None:
    session = Session(shared_key="", attachables=[SshForward({"default": tmp_path / "gone"})])
    async with served(session) as peer:
        status = await peer.finished(await _connect(peer))

    assert status == (UNKNOWN, f'the ssh agent at "{tmp_path}/gone" cannot be reached: no such file or directory')
    assert session.failure is None


async def test_agent_that_hangs_up_is_a_failure_of_the_request(tmp_path: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(5)

    async with (
        serving(hang_up, tmp_path / "agent"),
        served(Session(shared_key="", attachables=[SshForward({"default": tmp_path / "agent"})])) as peer,
    ):
        call = await _connect(peer)
        assert [await _ask(peer, call, _LIST), await _ask(peer, call, _LIST)] == [FAILURE] * 2
        peer.h2.end_stream(call.id)
        assert await peer.finished(call) == (0, "")


async def test_request_of_an_impossible_length_ends_the_connection(tmp_path: Path) -> None:
    with running_agent(tmp_path / "agent") as sock:
        async with served(Session(shared_key="", attachables=[SshForward({"default": sock})])) as peer:
            call = await _connect(peer)
            await peer.send(call, BytesMessage(data=b"\xff" * 9).SerializeToString())
            assert (await peer.finished(call))[0] == INVALID_ARGUMENT


def test_check_agents_of_a_key_with_a_passphrase_says_what_to_do(tmp_path: Path) -> None:
    for number, options in enumerate(_KINDS):
        path, _ = make_key(tmp_path, f"locked{number}", *options, passphrase="open sesame")
        with pytest.raises(UsageError) as caught:
            check_agents([SshAgent(id="git", paths=(path,))])
        assert caught.value.message == f'--ssh "git" names the key "{path}", which is protected by a passphrase'
        assert caught.value.hint == f"ssh-add {path}, then build with --ssh git"


def test_check_agents_without_an_agent_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    for value in ("", str(tmp_path / "gone"), str(tmp_path)):
        monkeypatch.setenv("SSH_AUTH_SOCK", value)
        with pytest.raises(UsageError) as caught:
            check_agents([SshAgent(id="default")])
        said.append(caught.value.message)

    assert said == [
        '--ssh "default" wants an ssh agent, and there is none: SSH_AUTH_SOCK is not set',
        f'--ssh "default": "{tmp_path}/gone" cannot be read: no such file or directory',
        f'--ssh "default" wants an ssh agent: SSH_AUTH_SOCK names "{tmp_path}", which is not a socket',
    ]


def test_check_agents_of_paths_that_do_not_fit_names_them(tmp_path: Path) -> None:
    key, _ = make_key(tmp_path, "key")
    (tmp_path / "text").write_text("hello")
    sockets = []
    for name in ("s1", "s2"):
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(tmp_path / name))
        sockets.append(tmp_path / name)

    def message(*paths: Path) -> str:
        with pytest.raises(UsageError) as caught:
            check_agents([SshAgent(id="a", paths=paths)])
        return caught.value.message

    assert message(sockets[0], key) == '--ssh "a" names both a socket and key files'
    assert message(*sockets) == '--ssh "a" names 2 sockets; it may name one'
    assert message(tmp_path / "gone") == f'--ssh "a": "{tmp_path}/gone" cannot be read: no such file or directory'
    assert message(tmp_path) == f'--ssh "a": "{tmp_path}" cannot be read: is a directory'
    assert message(tmp_path / "text") == f'--ssh "a" names "{tmp_path}/text", which is neither a private key nor the socket of an agent'


def test_check_agents_of_one_id_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match='the id "a" twice'):
        check_agents([SshAgent(id="a", paths=(make_key(tmp_path, "key")[0],))] * 2)


async def test_key_that_openssh_does_not_take_is_told_by_name(tmp_path: Path) -> None:
    path, _ = make_key(tmp_path, "key")
    path.write_bytes(path.read_bytes().replace(b"b3Bl", b"AAAA", 1))
    with pytest.raises(UsageError, match=f'--ssh "a": ssh-add does not take the key "{path}": '):
        async with open_agents([SshAgent(id="a", paths=(path,))]):
            pass


def test_check_agents_of_keys_without_openssh_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = make_key(tmp_path, "key")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("ssh-agent") is None
    with pytest.raises(ConfigError, match="need the program ssh-agent, which is not installed here"):
        check_agents([SshAgent(id="a", paths=(path,))])


async def test_agents_leave_the_environment_as_it_was(tmp_path: Path) -> None:
    path, _ = make_key(tmp_path, "key")
    before = dict(os.environ)
    async with open_agents([SshAgent(id="a", paths=(path,))]):
        assert dict(os.environ) == before


def test_check_agents_where_there_are_no_unix_sockets_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(asyncio, "open_unix_connection")
    check_agents([])
    with pytest.raises(UsageError, match="--ssh needs unix sockets"):
        check_agents([SshAgent(id="default")])


@asynccontextmanager
async def _silent_agent(path: Path) -> AsyncIterator[tuple[asyncio.Event, asyncio.Event]]:
    """An agent that never answers; the events tell that it was asked and that it was left."""
    asked, left = asyncio.Event(), asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(5)
        asked.set()
        assert await reader.read() == b""
        left.set()

    async with serving(wait, path):
        yield asked, left


async def test_connection_that_the_step_gives_up_is_ended_at_the_agent(tmp_path: Path) -> None:
    session = Session(shared_key="", attachables=[SshForward({"default": tmp_path / "agent"})])
    async with _silent_agent(tmp_path / "agent") as (asked, left), served(session) as peer:
        call = await _connect(peer)
        await peer.send(call, BytesMessage(data=_LIST).SerializeToString())
        async with asyncio.timeout(20):
            await asked.wait()
            peer.h2.reset_stream(call.id)
            await peer.flush()
            await left.wait()


async def test_agent_that_does_not_answer_is_told_to_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECTL_BUILD_DEADLINES", "agent=10ms")
    session = Session(shared_key="", attachables=[SshForward({"default": tmp_path / "agent"})])
    async with _silent_agent(tmp_path / "agent"), served(session) as peer:
        call = await _connect(peer)
        await peer.send(call, BytesMessage(data=_LIST).SerializeToString())
        status = await peer.finished(call)

    assert status == (UNKNOWN, f'the ssh agent at "{tmp_path}/agent" has not answered for 0.01 s')
