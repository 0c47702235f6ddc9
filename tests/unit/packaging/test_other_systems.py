"""Clients on Windows and macOS: nothing that only Unix or Linux has is needed to start, and what replaces it works.

The program runs here in a Python from which all of that has been taken away.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import reload
from pathlib import Path

import grpc
import pytest

from kubectl_build.errors import UsageError
from kubectl_build.fsutil.receive import Receiver
from kubectl_build.layout import filelock
from kubectl_build.layout.archive import read_range
from kubectl_build.layout.index import find_entry, put_entry, read_index, tag_name
from kubectl_build.model.stream import ByteStream
from kubectl_build.session.outputfile import OutputFile
from kubectl_build.transport.bridge import bridge
from kubectl_build.transport.sockets import tcp_direct_dialer, unix_dialer
from tests.fakes.byte_stream import memory_pair, receive_exactly

_POOR_PYTHON = """
import builtins, functools, os, select, signal, socket, sys, types
import aiohttp, asyncio, grpc.aio, getpass, h2.connection, kubernetes.client, kubernetes.config, logging.handlers, multiprocessing, pathlib
import rich.console, rich.live, shutil, subprocess, tarfile, tempfile, tomli_w, typer, yaml

socket.socketpair = functools.partial(socket.socketpair, socket.AF_UNIX)  # the event loop's own, which has another form elsewhere
missing = {"fcntl", "termios", "tty", "pty", "pwd", "grp", "resource", "syslog", "readline", "curses", "posix"}
for module, names in {
    os: "fork forkpty getuid geteuid getgid getegid getgroups getpgid setsid setuid setgid killpg chown lchown fchown fchmod mkfifo "
    "mknod pread pwrite preadv pwritev sendfile uname sysconf getloadavg statvfs wait3 wait4 nice openpty posix_spawn "
    "O_CLOEXEC O_NONBLOCK O_NOFOLLOW O_DIRECTORY O_NOCTTY O_SYNC O_PATH O_TMPFILE WNOHANG PRIO_PROCESS",
    socket: "AF_UNIX AF_NETLINK TCP_KEEPIDLE TCP_USER_TIMEOUT SO_PEERCRED SCM_RIGHTS send_fds recv_fds",
    signal: "SIGHUP SIGKILL SIGQUIT SIGUSR1 SIGUSR2 SIGPIPE SIGWINCH SIGCHLD SIGALRM SIGTSTP SIGCONT setitimer alarm pthread_sigmask",
    select: "poll epoll PIPE_BUF",
}.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
del asyncio.open_unix_connection, asyncio.start_unix_server

found = builtins.__import__
def look(name, globals=None, *rest, **more):
    if name.partition(".")[0] in missing and str((globals or {}).get("__name__", "")).startswith("kubectl_build"):
        raise ImportError(f"{name} is not on every system")
    return found(name, globals, *rest, **more)
builtins.__import__ = look

sys.modules["msvcrt"] = types.ModuleType("msvcrt")
own, sys.platform = sys.platform, "win32"
import kubectl_build.layout.filelock
sys.platform = own  # other programs' modules would now look for Windows itself
"""

_IMPORT_ALL = """
import importlib, pkgutil
import kubectl_build
for module in pkgutil.walk_packages(kubectl_build.__path__, "kubectl_build."):
    importlib.import_module(module.name)
print("imported", len([name for name in sys.modules if name.startswith("kubectl_build.")]))
"""

_RUN = "from kubectl_build.cli.main import {0}_main\nsys.argv = ['kubectl-{0}', *sys.argv[1:]]\n{0}_main()\n"


def poor_python(code: str, *args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", _POOR_PYTHON + code, *args]
    return subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=50, check=False)


def test_every_module_loads_without_what_unix_has() -> None:
    done = poor_python(_IMPORT_ALL)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[1]) > 200


@pytest.mark.parametrize("plugin", ["build", "buildkit"])
def test_help_is_printed_without_what_unix_has(plugin: str) -> None:
    done = poor_python(_RUN.format(plugin), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Usage: kubectl {plugin}" in done.stdout


def test_build_gets_as_far_as_the_cluster_without_what_unix_has(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    arguments = (".", "-t", "example.com/a", "--push", "--kubeconfig", "missing")
    done = poor_python(_RUN.format("build"), *arguments, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "the kubeconfig missing does not exist" in done.stderr


@pytest.mark.parametrize("readiness", [True, False], ids=["event loop that tells readiness", "event loop of Windows"])
async def test_bridge_without_unix_sockets_listens_on_loopback_only(readiness: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not readiness:
        monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", _not_implemented)
    async with memory_pair() as (near, far):
        monkeypatch.delattr(socket, "AF_UNIX")

        async def dial() -> ByteStream:
            return near

        async with bridge(dial) as it:
            assert it.target.startswith("ipv4:127.0.0.1:")
            client = await tcp_direct_dialer("127.0.0.1", int(it.target.rpartition(":")[2]))()
            try:
                await client.send(b"ping")
                assert await receive_exactly(far, 4) == b"ping"
                await far.send(b"pong")
                assert await receive_exactly(client, 4) == b"pong"
            finally:
                await client.aclose()


def _not_implemented(*_: object) -> None:
    raise NotImplementedError


async def _echo(requests: object, context: grpc.aio.ServicerContext) -> None:
    async for request in requests:  # type: ignore[attr-defined]
        await context.write(request)


async def test_bridge_on_loopback_carries_grpc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(_echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {"Echo": handler}),))
    server.add_insecure_port(f"unix:{tmp_path / 'daemon'}")
    await server.start()
    dial = unix_dialer(str(tmp_path / "daemon"))
    blob = bytes(range(256)) * 1024
    family = socket.AF_UNIX

    async def dial_daemon() -> ByteStream:
        with monkeypatch.context() as back:
            back.setattr(socket, "AF_UNIX", family, raising=False)
            return await dial()

    try:
        with monkeypatch.context() as patch:
            patch.delattr(socket, "AF_UNIX")
            async with bridge(dial_daemon) as it, grpc.aio.insecure_channel(it.target) as channel:
                assert it.target.startswith("ipv4:127.0.0.1:")
                call = channel.stream_stream("/test.Echo/Echo")()
                for _ in range(5):
                    await call.write(blob)
                    assert await call.read() == blob
                await call.done_writing()
                assert await call.read() is grpc.aio.EOF
    finally:
        await server.stop(None)


@contextmanager
def windows_locks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """filelock as it is on Windows; the lock of a byte behaves as there: it refuses with a PermissionError."""

    def locking(descriptor: int, mode: int, size: int) -> None:
        assert (mode, size) == (2, 1)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise PermissionError("locked") from exc

    fake = types.ModuleType("msvcrt")
    vars(fake).update(LK_NBLCK=2, locking=locking)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "msvcrt", fake)
        patch.setattr(sys, "platform", "win32")
        reload(filelock)
        patch.setattr("kubectl_build.layout.index.try_lock", filelock.try_lock)
        yield
    reload(filelock)


def test_layouts_are_changed_under_windows_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = {"digest": "sha256:" + "a" * 64, "mediaType": "application/vnd.oci.image.index.v1+json", "size": 7}
    monkeypatch.setenv("KUBECTL_BUILD_DEADLINES", "lock=1ms")
    with windows_locks(monkeypatch):
        put_entry(tmp_path, descriptor, [tag_name("v1")])
        assert find_entry(read_index(tmp_path), "v1") is not None
        with (tmp_path / "index.json.lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(UsageError, match="held by another program"):
                put_entry(tmp_path, descriptor, [tag_name("v2")])


def test_ranges_of_a_file_are_read_without_pread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    monkeypatch.delattr("os.pread")
    with (tmp_path / "file").open("rb") as file:
        assert b"".join(read_range(file.fileno(), 3, 4)) == b"3456"
        assert b"".join(read_range(file.fileno(), 0, 2)) == b"01"


def test_results_are_written_to_pipes_where_none_can_be_polled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("select.poll")
    reading, writing = os.pipe()
    try:
        output = OutputFile(writing)
        for step in (output.open(), output.write([b"result"])):
            assert list(step) == []
        output.close()
        assert os.read(reading, 10) == b"result"
    finally:
        os.close(reading)
        os.close(writing)


def test_directory_that_cannot_be_written_safely_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.supports_dir_fd", set())
    with pytest.raises(UsageError, match="no safe way to write a directory") as caught:
        Receiver(str(tmp_path / "out")).open()
    assert caught.value.hint == "use -o type=tar,dest=FILE, and unpack it"
    assert not (tmp_path / "out").exists()
