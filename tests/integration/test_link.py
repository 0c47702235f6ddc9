"""Links that break, freeze or end in the middle of a build, against a real buildkitd."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kubectl_build.buildkit.client import BuildkitClient, connect
from kubectl_build.buildkit.liveness import watched
from kubectl_build.errors import ConnectionLost
from kubectl_build.model.events import Note
from kubectl_build.model.request import Output, OutputType
from kubectl_build.pipeline import build
from tests.cluster import tools
from tests.fakes.kube_exec import ExecCall, local_process
from tests.fakes.slow_file import SlowFile, open_slow_file
from tests.fakes.wire import Wire, open_wire
from tests.integration.test_pipeline import Bench, bench

pytestmark = pytest.mark.integration

__all__ = ["bench"]

_SOON = 15.0
"""What the product promises: by then a fault is survived or told, and nothing runs on."""


@pytest.fixture
async def slow() -> AsyncIterator[SlowFile]:
    async with open_slow_file() as file:
        yield file


@dataclass
class Line:
    """A bench whose daemon is reached by `wire`."""

    bench: Bench
    wire: Wire
    slow: SlowFile

    async def build(self, out: Path, **changes: object) -> str:
        """Build the slow file into an image; returns its digest."""
        output = Output(type=OutputType.OCI, dest=str(out))
        request = self.bench.request(f"FROM scratch\nADD {self.slow.url} /\n", outputs=(output,), **changes)
        return (await build(request, self.bench.kube, emit=self.bench.events.append, environ={})).digest


@pytest.fixture
async def line(bench: Bench, buildkitd: Path, tmp_path: Path, slow: SlowFile) -> AsyncIterator[Line]:
    buildctl = str(tools.ensure(["buildctl"])["buildctl"])

    async def run(call: ExecCall) -> int | None:
        if call.command[:2] == ["buildctl", "dial-stdio"]:
            call.command = [buildctl, "--addr", f"unix://{tmp_path}/wire", "dial-stdio"]
        return await local_process(call)

    bench.api.exec_handler = run
    async with open_wire(tmp_path / "wire", buildkitd) as wire:
        yield Line(bench, wire, slow)


async def test_build_whose_stream_is_cut_is_begun_again_and_has_the_same_digest(line: Line, tmp_path: Path) -> None:
    task = asyncio.create_task(line.build(tmp_path / "1.tar"))
    await line.slow.asked()
    line.wire.cut()
    line.slow.ready.set()

    digest = await task

    assert "trying again (2 of 3)" in line.bench.notes()
    assert digest == await line.build(tmp_path / "2.tar")
    assert line.bench.notes().count("trying again") == 1


async def test_build_whose_stream_is_cut_ends_with_the_reason_where_no_retries_are_wanted(line: Line, tmp_path: Path) -> None:
    task = asyncio.create_task(line.build(tmp_path / "1.tar", retries=0))
    await line.slow.asked()
    line.wire.cut()

    with pytest.raises(ConnectionLost) as caught:
        await task

    assert caught.value.exit_code == 5
    assert "trying again" not in line.bench.notes()
    await line.slow.left(_SOON)


async def test_build_whose_stream_freezes_is_begun_again_on_a_new_one(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECTL_BUILD_DEADLINES", "health=6s")
    task = asyncio.create_task(line.build(tmp_path / "1.tar"))
    await line.slow.asked()
    line.wire.freeze()
    line.wire.thaw()  # for the connections that come now
    line.slow.ready.set()

    await task

    lost = "the builder has not asked for this client's health for 6 s, although it does so every 5 s"
    notes = [event.text for event in line.bench.events if isinstance(event, Note) and event.text]
    assert notes[-3:] == [lost.replace("6 s,", "4 s,"), lost, f"{lost}; trying again (2 of 3)"]


async def test_build_whose_builder_stays_frozen_tells_both_what_was_lost_and_what_failed_since(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECTL_BUILD_DEADLINES", "health=6s,answer=1s,call=1s,reconnect=3s")
    task = asyncio.create_task(line.build(tmp_path / "1.tar"))
    await line.slow.asked()
    line.wire.freeze()
    began = time.monotonic()

    with pytest.raises(ConnectionLost, match=r"health for 6 s.*; and 3 s later the builder could not be reached again: .*within 1 s"):
        await task

    assert time.monotonic() - began < 6 + 2 + 3 + 5
    line.wire.cut()


async def test_daemon_that_freezes_while_it_is_asked_without_a_session_is_noticed(
    buildkitd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECTL_BUILD_DEADLINES", "health=1s")
    monkeypatch.setattr("kubectl_build.buildkit.liveness._INTERVAL", 0.1)

    async def ask(client: BuildkitClient, wire: Wire) -> None:
        async with watched(client), asyncio.timeout(_SOON):
            wire.freeze()
            await asyncio.get_running_loop().create_future()

    async with open_wire(tmp_path / "wire", buildkitd) as wire, connect(f"unix:{tmp_path}/wire") as client:
        with pytest.raises(ConnectionLost, match="did not answer Check in time"):
            await ask(client, wire)


@dataclass
class Command:
    """`kubectl build` of the slow file, as a process, by the daemon's address."""

    process: asyncio.subprocess.Process
    stderr: list[str]

    async def ended(self) -> int:
        """Wait for its end and return the exit code."""
        async with asyncio.timeout(120):
            self.stderr += (await self.process.communicate())[1].decode().splitlines()
        assert self.process.returncode is not None
        return self.process.returncode


async def start(buildkitd: Path, slow: SlowFile, context: Path, *flags: str) -> Command:
    (context / "Dockerfile").write_text(f"FROM scratch\nADD {slow.url} /\n")
    command = [
        str(Path(sys.executable).with_name("kubectl-build")),
        str(context),
        "--progress",
        "plain",
        "--builder",
        f"unix://{buildkitd}",
    ]
    process = await asyncio.create_subprocess_exec(
        *command, *flags, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env={**os.environ, "HOME": str(context)}
    )
    return Command(process, [])


async def nothing_runs(buildkitd: Path, slow: SlowFile) -> None:
    """Wait, with the product's limit, until the daemon has let go of the file and lists no build."""
    await slow.left(_SOON)
    async with connect(f"unix:{buildkitd}") as client, asyncio.timeout(_SOON):
        while await client.history(active_only=True):
            pass


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)])
async def test_build_whose_client_is_ended_runs_on_nowhere(
    buildkitd: Path, slow: SlowFile, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    command = await start(buildkitd, slow, tmp_path)
    await slow.asked()

    command.process.send_signal(number)

    assert await command.ended() == code
    await nothing_runs(buildkitd, slow)


async def test_build_that_takes_longer_than_its_timeout_is_stopped_and_says_what_it_did(
    buildkitd: Path, slow: SlowFile, tmp_path: Path
) -> None:
    command = await start(buildkitd, slow, tmp_path, "--timeout", "5s")
    await slow.asked()

    assert await command.ended() == 124

    assert f'error: not done within --timeout 5 s: the build was at "[1/1] ADD {slow.url} /"' in command.stderr
    assert "Traceback" not in "\n".join(command.stderr)
    await nothing_runs(buildkitd, slow)


@pytest.mark.faults
@pytest.mark.timeout(150)
async def test_build_whose_client_was_stopped_for_a_minute_is_begun_again_when_it_goes_on(
    buildkitd: Path, slow: SlowFile, tmp_path: Path
) -> None:
    """As on a laptop that was closed: by then the daemon has given the client up."""
    command = await start(buildkitd, slow, tmp_path)
    await slow.asked()
    began = time.monotonic()
    command.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(60)
    command.process.send_signal(signal.SIGCONT)
    await slow.asked(_SOON)
    longest = round(time.monotonic() - began + 1)  # what is told begins with the last look at the clock, up to a second before
    slow.ready.set()

    assert await command.ended() == 0

    told = re.search(r"stopped for (\d+) s, and the builder has given it up; trying again \(2 of 3\)", "\n".join(command.stderr))
    assert told, command.stderr
    assert 60 <= int(told[1]) <= longest, command.stderr
