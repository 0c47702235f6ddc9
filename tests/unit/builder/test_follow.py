"""Following objects over absences of the API server."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from kubectl_build.builder.follow import follow
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.resources import PODS
from kubectl_build.errors import ApiError, Forbidden
from tests.fakes.kube_api import FakeKubeApi


def add(api: FakeKubeApi, name: str) -> None:
    api.add(PODS, {"metadata": {"name": name, "namespace": "default"}})


async def test_following_goes_on_where_the_api_server_was_away_for_some_requests(api: FakeKubeApi, client: KubeClient) -> None:
    add(api, "a")
    async with aclosing(follow(client, PODS)) as snapshots:
        assert (await anext(snapshots)).keys() == {"a"}
        api.fail("GET", "/pods", 500, message="etcdserver: leader changed", times=20)
        api.end_watches()
        add(api, "b")

        async for snapshot in snapshots:
            if "b" in snapshot:
                break

    assert sum(request.path.endswith("/pods") for request in api.requests) > 20


async def test_following_ends_where_the_api_server_stays_away(
    api: FakeKubeApi, client: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECTL_BUILD_DEADLINES", "reconnect=50ms")
    async with aclosing(follow(client, PODS)) as snapshots:
        await anext(snapshots)
        api.fail("GET", "/pods", 500)
        api.end_watches()

        with pytest.raises(ApiError):
            await anext(snapshots)


@pytest.mark.parametrize(("code", "error"), [(500, ApiError), (403, Forbidden)])
async def test_following_that_cannot_begin_is_told_at_once(api: FakeKubeApi, client: KubeClient, code: int, error: type[ApiError]) -> None:
    api.fail("GET", "/pods", code, reason="Forbidden" if code == 403 else "", times=1)

    with pytest.raises(error):
        await anext(follow(client, PODS))


async def test_right_that_is_taken_away_ends_the_following(api: FakeKubeApi, client: KubeClient) -> None:
    async with aclosing(follow(client, PODS)) as snapshots:
        await anext(snapshots)
        api.fail("GET", "/pods", 403, reason="Forbidden")
        api.end_watches()

        with pytest.raises(Forbidden):
            await anext(snapshots)
