"""Where the agents of --ssh come from: a socket that is there, or an ssh-agent of our own that holds key files while the build lasts.

Signing is left to OpenSSH, which knows every kind of key.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from kubectl_build.deadlines import deadlines
from kubectl_build.errors import ConfigError, UsageError, system_words
from kubectl_build.model.inputs import SshAgent
from kubectl_build.session.ssh import SshForward
from kubectl_build.session.threads import in_thread

_MAX_KEY: Final = 100 * 1024  # as BuildKit, sshprovider
_NEW_FORMAT: Final = b"openssh-key-v1\0"
# The shell stays as long as our end of its stdin, so the agent, which watches its parent, does not outlive this process by much even
# when this process is killed.
_AGENT_COMMAND: Final = 'echo "$SSH_AGENT_PID"; exec cat'


def check_agents(agents: Sequence[SshAgent]) -> None:
    """See before the build that every agent can be had. Reads key files, but asks no agent.

    Raises UsageError that names the id and path; ConfigError where key files need OpenSSH and it is not installed.
    """
    if agents and not hasattr(asyncio, "open_unix_connection"):
        raise UsageError("--ssh needs unix sockets, which Python does not have on this system")
    ids: set[str] = set()
    for agent in agents:
        if agent.id in ids:
            raise UsageError(f'--ssh names the id "{agent.id}" twice', hint="name several keys for one id: --ssh ID=KEY,KEY")
        ids.add(agent.id)
        if _socket_of(agent) is None:
            _program("ssh-agent"), _program("ssh-add")
            for path in agent.paths:
                _read_key(agent.id, path)


@asynccontextmanager
async def open_agents(agents: Sequence[SshAgent]) -> AsyncIterator[SshForward]:
    """Serve `agents` while the body runs. For key files an ssh-agent is started, and ended with the body; a socket's agent is the user's.

    Raises what `check_agents` raises, and UsageError for a key that OpenSSH does not take.
    """
    await in_thread(check_agents, agents)
    async with AsyncExitStack() as stack:
        sockets: dict[str, Path] = {}
        for agent in agents:
            place = _socket_of(agent)
            if place is None:
                place = await stack.enter_async_context(_agent_with(agent.id, agent.paths))
            sockets[agent.id] = place
        yield SshForward(sockets)


def _socket_of(agent: SshAgent) -> Path | None:
    """The socket that `agent` names, None where it names keys. Raises UsageError for what is neither or both."""
    paths = agent.paths
    if not paths:
        found = os.environ.get("SSH_AUTH_SOCK", "")
        if not found:
            raise UsageError(f'--ssh "{agent.id}" wants an ssh agent, and there is none: SSH_AUTH_SOCK is not set', hint=_START_AGENT)
        paths = (Path(found),)
    sockets = [path for path in paths if stat.S_ISSOCK(_mode(agent.id, path))]
    if len(sockets) > 1:
        raise UsageError(f'--ssh "{agent.id}" names {len(sockets)} sockets; it may name one')
    if sockets and len(paths) > 1:
        raise UsageError(f'--ssh "{agent.id}" names both a socket and key files')
    if not sockets and not agent.paths:
        raise UsageError(
            f'--ssh "{agent.id}" wants an ssh agent: SSH_AUTH_SOCK names "{paths[0]}", which is not a socket', hint=_START_AGENT
        )
    return sockets[0] if sockets else None


_START_AGENT: Final = "start one with eval $(ssh-agent) and ssh-add, or name key files: --ssh ID=FILE"


def _mode(id: str, path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError as exc:
        raise _unreadable(id, path, exc) from exc


def _read_key(id: str, path: Path) -> bytes:
    """A private key's file. Raises UsageError when it cannot be read, is none, or is encrypted."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_KEY)
    except OSError as exc:
        raise _unreadable(id, path, exc) from exc
    if b"PRIVATE KEY-----" not in data:
        raise UsageError(f'--ssh "{id}" names "{path}", which is neither a private key nor the socket of an agent')
    if is_encrypted(data):
        hint = f"ssh-add {path}, then build with --ssh {id}"
        raise UsageError(f'--ssh "{id}" names the key "{path}", which is protected by a passphrase', hint=hint)
    return data


def is_encrypted(key: bytes) -> bool:
    """Whether a private key's file wants a passphrase: PEM (RFC 1421, 4.6.1.3), PKCS #8, or OpenSSH's format (PROTOCOL.key)."""
    if b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in key or b"4,ENCRYPTED" in key:
        return True
    body = b"".join(line for line in key.splitlines() if line and not line.startswith(b"-----"))
    try:
        data = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        return False
    cipher = data[len(_NEW_FORMAT) :]
    return data.startswith(_NEW_FORMAT) and cipher[4 : 4 + int.from_bytes(cipher[:4], "big")] != b"none"


def _unreadable(id: str, path: Path, exc: OSError) -> UsageError:
    return UsageError(f'--ssh "{id}": "{path}" cannot be read: {system_words(exc)}')


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise ConfigError(
            f"key files in --ssh need the program {name}, which is not installed here",
            hint="install OpenSSH's client programs, or name the socket of a running agent",
        )
    return found


@asynccontextmanager
async def _agent_with(id: str, keys: Sequence[Path]) -> AsyncIterator[Path]:
    """Run an ssh-agent that has `keys`, on a socket in a private directory. Yields the socket."""
    directory = await in_thread(tempfile.mkdtemp, prefix="kubectl-build-ssh-")
    try:
        socket = Path(directory, "agent")
        async with _running_agent(id, socket):
            for path in keys:
                await _add_key(id, socket, path)
            yield socket
    finally:
        await in_thread(shutil.rmtree, directory, ignore_errors=True)


@asynccontextmanager
async def _running_agent(id: str, socket: Path) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        _program("ssh-agent"),
        *("-a", str(socket), "sh", "-c", _AGENT_COMMAND),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C at the terminal is for the build, which ends the agent itself
    )
    agent = 0
    try:
        agent = await _started(id, process)
        yield
    finally:
        if agent:
            with suppress(ProcessLookupError):
                os.kill(agent, signal.SIGTERM)
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def _started(id: str, process: asyncio.subprocess.Process) -> int:
    """Wait until an agent listens, which it does before it runs its command. Returns its process id."""
    assert process.stdout is not None
    try:
        async with asyncio.timeout(deadlines().program):
            line = await process.stdout.readline()
            if line.strip().isdigit():
                return int(line)
            _, said = await process.communicate()
    except TimeoutError as exc:
        raise ConfigError(f'the ssh-agent for --ssh "{id}" did not start within {deadlines().program:g} s') from exc
    raise ConfigError(f'the ssh-agent for --ssh "{id}" did not start: {_last_line(said)}')


def _last_line(said: bytes) -> str:
    return said.decode(errors="replace").strip().rpartition("\n")[2]


async def _add_key(id: str, socket: Path, path: Path) -> None:
    """Give one key to the agent, by stdin: a file's own permissions are the user's affair, as they are for BuildKit."""
    lines = (await in_thread(_read_key, id, path)).splitlines()
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_ASKPASS")}
    process = await asyncio.create_subprocess_exec(
        _program("ssh-add"),
        *("-q", "-"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**environment, "SSH_AUTH_SOCK": str(socket), "SSH_ASKPASS_REQUIRE": "never"},
        start_new_session=True,  # without a terminal, so that it cannot ask for a passphrase
    )
    try:
        async with asyncio.timeout(deadlines().program):
            _, said = await process.communicate(b"\n".join(lines) + b"\n")
    except TimeoutError as exc:
        raise UsageError(f'--ssh "{id}": ssh-add did not take the key "{path}" within {deadlines().program:g} s') from exc
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if process.returncode:
        raise UsageError(f'--ssh "{id}": ssh-add does not take the key "{path}": {_last_line(said)}')
