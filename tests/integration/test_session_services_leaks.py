"""Secrets and logins reach the step and the registry, and are found nowhere else: not in arguments, files, logs, events or records."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import subprocess
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from kubectl_build.buildkit import BuildEvent, Output, OutputType, open_daemon
from kubectl_build.errors import SolveError
from kubectl_build.model.credentials import Credentials
from kubectl_build.model.inputs import Secret, SshAgent
from tests.cluster import tools
from tests.cluster.registries import Kind, run_registry
from tests.fakes.serving import serving
from tests.integration.buildkitd import running_buildkitd
from tests.integration.services import probe
from tests.integration.test_registry import Somebody, free_address
from tests.integration.token_registry import PASSWORD, USER, TokenRegistry, serve

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

_NO_KEYS = b"\0\0\0\5\x0c\0\0\0\0"


@pytest.fixture(scope="module")
def debugging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of a buildkitd that logs all it can."""
    if os.geteuid() != 0:
        pytest.skip("buildkitd needs root here")
    directory = tmp_path_factory.mktemp("debugging")
    with running_buildkitd(directory, ["--debug", "--trace"]):
        yield directory


def _found_in_files(words: Iterable[bytes], *directories: Path) -> list[str]:
    """The files below `directories` that have one of `words` in their contents or name."""
    found = []
    for directory in directories:
        for file in directory.rglob("*"):
            with suppress(FileNotFoundError):
                content = file.read_bytes() if file.is_file() and not file.is_symlink() else b""
                if any(word in content + os.fsencode(file) for word in words):
                    found.append(str(file))
    return found


def _found_in_arguments(words: Iterable[bytes]) -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            content = file.read_bytes()
            if any(word in content for word in words):
                found.append(content.replace(b"\0", b" ").decode(errors="replace"))
    return found


class _Watcher:
    """An ssh agent without keys. When the step asks it, the secrets are mounted: that is the moment to look around."""

    def __init__(self, words: list[bytes], temporary: Path) -> None:
        self.looked = 0
        self.found: list[str] = []
        self._words = words
        self._temporary = temporary

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while await reader.readexactly(5):
                self.found += await asyncio.to_thread(_found_in_arguments, self._words)
                self.found += await asyncio.to_thread(_found_in_files, self._words, self._temporary)
                self.looked += 1
                writer.write(_NO_KEYS)

    @asynccontextmanager
    async def listening(self, socket: Path) -> AsyncIterator[Path]:
        async with serving(self.answer, socket):
            yield socket


def _context(directory: Path, last: str) -> Path:
    context = directory / "context"
    context.mkdir()
    (context / "probe").write_bytes(probe().read_bytes())
    (context / "probe").chmod(0o755)
    mounts = "--mount=type=secret,id=file,required=true --mount=type=secret,id=variable,env=TOKEN --mount=type=ssh"
    (context / "Dockerfile").write_text(f"FROM scratch\nENV TEST={directory}\nCOPY probe /\nRUN {mounts} {last}\n")
    return context


def _histories(directory: Path) -> bytes:
    command = [str(tools.ensure(["buildctl"])["buildctl"]), "--addr", f"unix://{directory / 'buildkitd.sock'}", "debug", "histories"]
    return subprocess.run([*command, "--format", "{{json .}}"], check=True, capture_output=True, timeout=30).stdout


@pytest.mark.parametrize("fails", [False, True], ids=["done", "failed"])
async def test_secrets_and_logins_are_found_nowhere(
    debugging: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    fails: bool,
) -> None:
    caplog.set_level(logging.DEBUG)
    values = [secrets.token_hex(20), secrets.token_hex(20)]
    words = [value.encode() for value in (*values, PASSWORD)]
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setenv("KB_VARIABLE", values[0])
    (tmp_path / "secret").write_text(values[1])
    given = [Secret(id="variable", env="KB_VARIABLE"), Secret(id="file", file=tmp_path / "secret")]
    context = _context(tmp_path, '["/probe", "agent", "2"]' + ('\nRUN --mount=type=secret,id=file ["/probe", "fail"]' if fails else ""))
    watcher = _Watcher(words, temporary)
    events: list[BuildEvent] = []
    said = ""

    binary = tools.ensure(["docker-registry"])["docker-registry"]
    with run_registry(Kind.INSECURE, tmp_path / "behind", free_address(), binary=binary) as behind:
        async with (
            serve(TokenRegistry(behind=behind.address)) as registry,
            watcher.listening(tmp_path / "agent") as socket,
            open_daemon(f"unix://{debugging / 'buildkitd.sock'}") as daemon,
        ):
            attrs = {"compression": "uncompressed", "force-compression": "true"}
            outputs = [Output(type=OutputType.OCI, dest=str(tmp_path / "image.tar"), attrs=attrs)]
            outputs.append(Output(type=OutputType.IMAGE, attrs={**attrs, "push": "true", "name": f"{registry.address}/team/app:1"}))
            try:
                await daemon.build(
                    context,
                    outputs=outputs,
                    secrets=given,
                    ssh=[SshAgent(id="default", paths=(socket,))],
                    keychain=Somebody(USER, PASSWORD),
                    emit=events.append,
                )
            except SolveError as exc:
                said = f"{exc.message} {exc.hint} {exc.log_tail} {exc.sources}"
    assert bool(said) == fails
    assert bool(registry.gets) != fails
    assert watcher.looked == 2
    assert watcher.found == []
    assert _found_in_files(words, debugging, tmp_path / "context", temporary, tmp_path / "behind") == []
    assert fails or _found_in_files([b"COPY probe"], debugging, tmp_path / "behind"), "looks in the right places"
    printed = capfd.readouterr()
    told = [said, repr(events), repr(given), caplog.text, printed.out, printed.err]
    told.append((await asyncio.to_thread(_histories, debugging)).decode())
    if not fails:
        told.append((tmp_path / "image.tar").read_bytes().decode("latin-1"))
    for text in told:
        assert not any(word.decode() in text for word in words)
    assert len(events) > 3


def test_credentials_show_no_secret() -> None:
    assert "hush" not in repr(Credentials(username="me", secret="hush", registry_token="hush"))
