from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kubectl_build.builder.objects import create_if_missing
from kubectl_build.builder.together import together
from kubectl_build.cluster.client import CONFIGMAPS, SECRETS, KubeClient
from kubectl_build.cluster.resources import Resource
from kubectl_build.errors import Forbidden
from kubectl_build.model.json import JsonObject
from tests.fakes.kube_api import FakeKubeApi


@pytest.fixture
def made(client: KubeClient, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when the server has made a ConfigMap, whose answer then takes its time."""
    event, create = asyncio.Event(), client.create

    async def slow(resource: Resource, obj: JsonObject, **more: Any) -> JsonObject:
        answer = await create(resource, obj, **more)
        event.set()
        await asyncio.sleep(0.05)
        return answer

    monkeypatch.setattr(client, "create", slow)
    return event


async def test_creation_that_is_cancelled_before_its_answer_is_here_leaves_nothing(
    api: FakeKubeApi, client: KubeClient, made: asyncio.Event
) -> None:
    task = asyncio.ensure_future(create_if_missing(client, CONFIGMAPS, {"metadata": {"name": "b"}}))
    await made.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert api.find(CONFIGMAPS, "b") is None


async def test_creation_beside_one_that_is_refused_leaves_nothing(api: FakeKubeApi, client: KubeClient, made: asyncio.Event) -> None:
    api.fail("POST", "/secrets", 403)

    async def refused() -> JsonObject | None:
        await made.wait()
        return await create_if_missing(client, SECRETS, {"metadata": {"name": "b"}})

    with pytest.raises(Forbidden):
        await together(create_if_missing(client, CONFIGMAPS, {"metadata": {"name": "b"}}), refused())
    assert api.find(CONFIGMAPS, "b") is None


async def test_creation_that_is_cancelled_leaves_what_somebody_else_has_made(api: FakeKubeApi, client: KubeClient) -> None:
    api.add(CONFIGMAPS, {"metadata": {"name": "b"}})
    task = asyncio.ensure_future(create_if_missing(client, CONFIGMAPS, {"metadata": {"name": "b"}}))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert api.find(CONFIGMAPS, "b") is not None
