from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubectl_build.builder import leases
from kubectl_build.builder.leases import Leases, Sightings, delete_dead, holder_identity, list_leases, parse_lease
from kubectl_build.builder.names import labels
from kubectl_build.builder.state import PodInfo
from kubectl_build.cluster.client import LEASES, KubeClient
from kubectl_build.deadlines import VARIABLE
from kubectl_build.errors import ApiError, ApiUnreachable, Forbidden, KubectlBuildError
from kubectl_build.model.json import JsonObject
from tests.fakes.kube_api import FakeKubeApi
from tests.unit.builder.conftest import Notes, until

POD = PodInfo(name="b-amd64-0", namespace="default", uid="u1", architecture="amd64")
WRITTEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _object(name: str, *, holder: str = "ann@desk", written: datetime | None = None, renewed: str = "r1") -> JsonObject:
    annotations = {"kubectl-build/pod": "b-amd64-0", "kubectl-build/build-platforms": "linux/amd64", "kubectl-build/context": "app"}
    managed = [{"manager": "kubectl-build", "time": written.isoformat()}] if written else []
    return {
        "metadata": {"name": name, "labels": labels("b", "amd64"), "annotations": annotations, "managedFields": managed},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 60, "renewTime": renewed},
    }


def _stored(api: FakeKubeApi) -> list[JsonObject]:
    return [item for (kind, *_), item in api.objects.items() if kind == LEASES.qualified]


@asynccontextmanager
async def _held(client: KubeClient, notes: Notes) -> AsyncIterator[None]:
    async with Leases(client, "b", notes) as held:
        with held.held(POD, platforms=["linux/amd64", "linux/386"], context="app"):
            yield


async def test_lease_tells_who_builds_and_is_gone_afterwards(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    async with _held(client, notes):
        await until(lambda: _stored(api))
        (item,) = _stored(api)
        assert item["metadata"]["ownerReferences"] == [{"apiVersion": "v1", "kind": "Pod", "name": "b-amd64-0", "uid": "u1"}]
        assert item["metadata"]["labels"] == labels("b", "amd64")
        (lease,) = await list_leases(client, "b")
        assert (lease.builder, lease.pod, lease.holder, lease.seconds) == ("b", "b-amd64-0", holder_identity(), 60.0)
        assert str(lease).startswith(f"{holder_identity()} (linux/amd64,linux/386, since ")
        assert str(lease).endswith(" UTC, app)")

    assert _stored(api) == []
    assert notes.texts == []


@pytest.mark.parametrize("error", [RuntimeError("broken"), asyncio.CancelledError()])
async def test_lease_is_gone_after_a_build_that_failed_or_was_interrupted(
    api: FakeKubeApi, client: KubeClient, notes: Notes, error: BaseException
) -> None:
    async def build() -> None:
        async with _held(client, notes):
            await until(lambda: _stored(api))
            raise error

    with pytest.raises(type(error)):
        await build()

    assert _stored(api) == []


async def test_lease_of_a_build_that_ends_at_once_is_not_left(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    async with _held(client, notes):
        await asyncio.sleep(0)

    assert [(request.method, "leases" in request.path) for request in api.requests][-1] == ("DELETE", True)
    assert _stored(api) == []


async def test_lease_is_renewed_and_made_anew_when_somebody_deleted_it(
    api: FakeKubeApi, client: KubeClient, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_RENEW_SECONDS", 0.01)
    async with _held(client, notes):
        await until(lambda: _stored(api))
        first = _stored(api)[0]
        await until(lambda: _stored(api)[0]["spec"]["renewTime"] > first["spec"]["renewTime"])
        api.remove(LEASES, first["metadata"]["name"])
        await until(lambda: _stored(api))

    assert _stored(api) == []


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_lease_that_may_not_be_written_is_one_note_and_the_build_goes_on(
    api: FakeKubeApi, client: KubeClient, notes: Notes, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_RENEW_SECONDS", 0.01)
    api.fail(method, "/leases", 403)

    async with _held(client, notes):
        await until(lambda: notes.texts)
        await until(lambda: not _stored(api))

    (text,) = notes.texts
    assert "you may not" in text
    assert "leases" in text


async def test_lease_that_may_not_be_deleted_is_left_with_a_note(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    api.fail("DELETE", "/leases", 403)

    async with _held(client, notes):
        await until(lambda: _stored(api))

    (item,) = _stored(api)
    assert notes.texts == [f"Lease {item['metadata']['name']} is left until it is out of date: you may not delete leases"]


async def test_lease_that_the_server_cannot_store_is_one_note(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    api.fail("POST", "/leases", 500, message="etcd is full")

    async with _held(client, notes):
        await until(lambda: notes.texts)

    assert "etcd is full" in notes.texts[0]


async def test_lease_that_cannot_be_deleted_in_time_is_told(
    api: FakeKubeApi, client: KubeClient, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "lease=200ms")

    async def never(*args: object, **options: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(client, "delete", never)
    async with _held(client, notes):
        await until(lambda: _stored(api))

    assert "is left" in notes.texts[0]
    assert len(_stored(api)) == 1


@pytest.mark.parametrize("error", [ApiUnreachable("no answer"), ApiError("etcd is away", status=503)])
async def test_lease_whose_deletion_fails_for_the_moment_is_deleted_again(
    api: FakeKubeApi, client: KubeClient, notes: Notes, monkeypatch: pytest.MonkeyPatch, error: KubectlBuildError
) -> None:
    monkeypatch.setattr(leases, "_AGAIN_SECONDS", 0.01)
    failures, delete = [error, error], client.delete

    async def failing(*args: Any, **options: Any) -> None:
        if failures:
            raise failures.pop()
        await delete(*args, **options)

    monkeypatch.setattr(client, "delete", failing)
    async with _held(client, notes):
        await until(lambda: _stored(api))

    assert _stored(api) == []
    assert notes.texts == []


async def test_lease_whose_deletion_is_not_answered_is_deleted_again_in_time(
    api: FakeKubeApi, client: KubeClient, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(leases, "_TRY_SECONDS", 0.2)
    frozen, delete = [True], client.delete

    async def freezing(*args: Any, **options: Any) -> None:
        if frozen:
            frozen.clear()
            await asyncio.Event().wait()
        await delete(*args, **options)

    monkeypatch.setattr(client, "delete", freezing)
    async with _held(client, notes):
        await until(lambda: _stored(api))

    assert _stored(api) == []


async def test_lease_that_cannot_be_deleted_does_not_delay_another_try_of_the_build(
    api: FakeKubeApi, client: KubeClient, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, delete = asyncio.Event(), client.delete

    async def freezing(*args: Any, **options: Any) -> None:
        await away.wait()
        await delete(*args, **options)

    monkeypatch.setattr(client, "delete", freezing)
    async with Leases(client, "b", notes) as held:
        for number in (1, 2):
            with held.held(POD, platforms=["linux/amd64"], context="app"):
                await until(lambda: len(_stored(api)) == number)  # noqa: B023
        away.set()

    assert _stored(api) == []
    assert notes.texts == []


def test_sightings_lease_is_dead_when_it_stays_unrenewed_for_its_duration() -> None:
    seen, lease = Sightings(), parse_lease(_object("l"))

    assert seen.dead([lease], now=1000.0, server_time=None) == ()
    assert seen.dead([lease], now=1059.0, server_time=None) == ()
    assert seen.dead([lease], now=1061.0, server_time=None) == (lease,)


def test_sightings_renewed_lease_lives_whatever_its_holders_clock_says() -> None:
    seen, lease = Sightings(), parse_lease(_object("l", renewed="2001-01-01T00:00:00.000000Z"))
    later = replace(lease, renewed="2000-01-01T00:00:00.000000Z")

    assert seen.dead([lease], now=0.0, server_time=None) == ()
    assert seen.dead([later], now=61.0, server_time=None) == ()
    assert seen.dead([later], now=121.5, server_time=None) == (later,)


def test_sightings_server_that_wrote_long_ago_shows_at_once_that_a_lease_is_dead() -> None:
    lease = parse_lease(_object("l", written=WRITTEN))

    assert Sightings().dead([lease], now=0.0, server_time=WRITTEN + timedelta(seconds=70)) == ()
    assert Sightings().dead([lease], now=0.0, server_time=WRITTEN + timedelta(seconds=80)) == (lease,)


async def test_build_deletes_the_lease_of_a_client_that_is_gone_and_no_other(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    now = datetime.now(UTC)
    api.add(LEASES, _object("dead", written=now - timedelta(hours=1)))
    api.add(LEASES, _object("alive", written=now))
    api.add(LEASES, _object("others", written=now - timedelta(hours=1)) | {"metadata": {"name": "others"}})

    async with _held(client, notes):
        await until(lambda: api.find(LEASES, "dead") is None)

    assert {item["metadata"]["name"] for item in _stored(api)} == {"alive", "others"}


async def test_build_that_may_not_list_leases_leaves_dead_ones_to_others(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    api.add(LEASES, _object("dead", written=datetime.now(UTC) - timedelta(hours=1)))
    api.fail("GET", "/leases", 403)

    async with _held(client, notes):
        await until(lambda: any(request.method == "GET" for request in api.requests))

    assert [item["metadata"]["name"] for item in _stored(api)] == ["dead"]
    assert notes.texts == []


async def test_delete_dead_returns_the_living(api: FakeKubeApi, client: KubeClient) -> None:
    now = datetime.now(UTC)
    api.add(LEASES, _object("dead", written=now - timedelta(hours=1)))
    api.add(LEASES, _object("alive", written=now))

    living = await delete_dead(client, await list_leases(client), Sightings())

    assert [lease.name for lease in living] == ["alive"]
    api.fail("DELETE", "/leases", 403)
    api.add(LEASES, _object("dead", written=now - timedelta(hours=1)))
    with pytest.raises(Forbidden):
        await delete_dead(client, await list_leases(client), Sightings())


def test_parse_lease_shows_no_control_characters_of_others() -> None:
    lease = parse_lease(_object("l", holder="\x1b[31mann\r\n" + "x" * 300))

    assert lease.holder.startswith("[31mannxxx")
    assert len(lease.holder) == 100


def test_parse_lease_of_an_empty_object_says_what_can_be_said() -> None:
    assert str(parse_lease({"metadata": {"name": "l"}})) == "somebody"
