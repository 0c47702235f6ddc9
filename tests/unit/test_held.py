from __future__ import annotations

import asyncio
import gc

import pytest

from kubectl_build.attachables import open_services
from kubectl_build.errors import UsageError
from kubectl_build.held import beside
from kubectl_build.model.inputs import Dockerfile, RemoteContext
from kubectl_build.model.request import BuildRequest
from tests.integration.test_registry import Nobody


async def test_beside_awaited_twice_gives_the_result_twice() -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        return "key"

    async with beside(work()) as key:
        assert [await key, await key] == ["key", "key"]


async def test_beside_body_ended_first_cancels_the_work() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with beside(work()) as task:
        await asyncio.sleep(0)

    assert ended.is_set()
    assert task.cancelled()


async def test_beside_error_nobody_awaited_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raise UsageError("the tree cannot be read")

    async with beside(work()) as task:
        await asyncio.sleep(0)
    del task
    gc.collect()

    assert caplog.records == []


async def test_services_one_session_cancelled_while_it_waits_for_the_key_leaves_the_key_to_others() -> None:
    go = asyncio.Event()

    async def work() -> str:
        await go.wait()
        return "key"

    request = BuildRequest(context=RemoteContext(url="https://example.com/a.git"), dockerfile=Dockerfile(name="Dockerfile"))
    async with beside(work()) as key, open_services(request, keychain=Nobody(), shared_key=key) as services:
        first, second = (asyncio.create_task(services.session()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        go.set()

        assert (await second).shared_key == "key"
        assert first.cancelled()
