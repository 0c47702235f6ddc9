"""A daemon that does not answer, at any point: each wait ends by its own deadline, or as soon as the user wants it to."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.hostile.client import build
from tests.hostile.conftest import Place
from tests.hostile.daemon import Daemon, serve

_SHORT = {"KUBECTL_BUILD_DEADLINES": "answer=1s,call=2s,content=2s,health=3s,settle=1s,reconnect=2s"}


@pytest.mark.parametrize("method", ["Health", "Info", "ListWorkers", "Ping"])
async def test_answer_that_does_not_come_is_waited_for_no_longer_than_is_told(place: Place, method: str) -> None:
    async with serve(Daemon(silent=frozenset({method})), place.socket) as address:
        outcome = await build(address, place.context, ".", "--progress=plain", "--retries=0", environ=_SHORT)

    assert outcome.civil().code == 5, outcome


@pytest.mark.parametrize("method", ["Gateway", "Solve"])
async def test_build_without_end_ends_when_nobody_asks_for_health(place: Place, method: str) -> None:
    async with serve(Daemon(silent=frozenset({method})), place.socket) as address:
        outcome = await build(address, place.context, ".", "--progress=plain", "--retries=0", environ=_SHORT)

    assert outcome.civil().code == 5, outcome


async def test_status_without_end_does_not_hold_up_a_build_that_is_done(place: Place) -> None:
    async with serve(Daemon(silent=frozenset({"Status"})), place.socket) as address:
        outcome = await build(address, place.context, ".", "--progress=plain", environ=_SHORT)

    assert outcome.civil().code == 0, outcome


async def test_interrupt_ends_a_build_whose_daemon_does_not_answer_any_more(place: Place) -> None:
    daemon = Daemon(silent=frozenset({"Solve", "Status", "Gateway"}))
    async with serve(daemon, place.socket) as address:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("kubectl-build")),
            *(f"--builder={address}", "--progress=plain", "."),
            cwd=place.context,
            env={"PATH": os.environ["PATH"], "HOME": str(place.context), "KUBECONFIG": os.devnull, **_SHORT},
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(20):
            await daemon.solving.wait()
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(15):
            _, said = await process.communicate()

    assert process.returncode == 130
    assert b"Traceback" not in said
