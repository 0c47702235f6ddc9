"""What a process that builds again and again keeps of each build: nothing."""

from __future__ import annotations

import asyncio
import gc
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from kubectl_build.buildkit import open_daemon
from kubectl_build.errors import ConnectionLost
from tests.fakes.slow_file import open_slow_file
from tests.fakes.wire import open_wire

pytestmark = pytest.mark.integration

_WARM = 4
"""Builds that fill the caches of the libraries."""
_BUILDS = 12


async def kept(build: Callable[[], Awaitable[None]]) -> dict[str, int]:
    """What is there after some builds, and was not before them, by type: of which there is one more for each build."""
    for _ in range(_WARM):
        await build()
    held()  # the first count leaves something of its own in the caches of abstract classes
    before = held()
    for _ in range(_BUILDS):
        await build()
    return {name: more for name, more in (held() - before).items() if more >= _BUILDS}


def held() -> Counter[str]:
    """The objects that the collector cannot take, by type, with the process's tasks and descriptors."""
    gc.collect()
    found = Counter(str(type(thing)) for thing in gc.get_objects())
    return found + Counter({"tasks": len(asyncio.all_tasks()), "descriptors": len(os.listdir("/proc/self/fd"))})


async def test_builds_leave_no_object_behind(buildkitd: Path, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")

    async def build() -> None:
        async with open_daemon(f"unix://{buildkitd}") as daemon:
            await daemon.build(tmp_path)

    assert await kept(build) == {}


async def test_builds_that_lose_their_connection_leave_no_object_behind(buildkitd: Path, tmp_path: Path) -> None:
    async with open_slow_file() as slow, open_wire(tmp_path / "wire", buildkitd) as wire:
        (tmp_path / "Dockerfile").write_text(f"FROM scratch\nADD {slow.url} /\n")

        async def build() -> None:
            async with open_daemon(f"unix://{wire.path}") as daemon, asyncio.TaskGroup() as group:
                task = group.create_task(lost(daemon.build(tmp_path)))
                await slow.asked()
                wire.cut()
                await task
            await slow.left(15)

        assert await kept(build) == {}


async def lost(build: Awaitable[object]) -> None:
    """Await a build that loses its connection."""
    with pytest.raises(ConnectionLost):
        await build
