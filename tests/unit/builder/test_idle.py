from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from kubectl_build.builder.find import list_builders
from kubectl_build.builder.idle import PodUse, Stopped, record_use, stop_idle
from kubectl_build.builder.manifests import render
from kubectl_build.builder.names import ANNOTATION_LAST_USED
from kubectl_build.builder.spec import BuilderSpec
from kubectl_build.builder.state import PodInfo
from kubectl_build.cluster.client import CONFIGMAPS, PODS, STATEFULSETS, KubeClient
from kubectl_build.deadlines import VARIABLE
from kubectl_build.errors import DialError, Forbidden
from tests.fakes.kube_api import FakeKubeApi
from tests.unit.builder.conftest import Notes
from tests.unit.builder.controller import READY

NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(hours=5)


def _text(time: datetime) -> str:
    return time.isoformat(timespec="seconds")


def _add(
    api: FakeKubeApi,
    name: str = "b",
    *,
    idle_seconds: int | None = 3600,
    used: datetime | None = LONG_AGO,
    started: datetime = LONG_AGO,
    replicas: int = 1,
    namespace: str = "default",
) -> None:
    """A builder with one pod, made long ago."""
    manifests = render(name, namespace, BuilderSpec(idle_seconds=idle_seconds), ("amd64",))
    api.add(CONFIGMAPS, manifests.config_map | {"metadata": manifests.config_map["metadata"] | {"creationTimestamp": _text(LONG_AGO)}})
    stateful_set = manifests.stateful_sets["amd64"]
    stateful_set["metadata"] |= {"creationTimestamp": _text(LONG_AGO)}
    if used is not None:
        stateful_set["metadata"]["annotations"] = {ANNOTATION_LAST_USED: _text(used)}
    stateful_set["spec"]["replicas"] = replicas
    api.add(STATEFULSETS, stateful_set)
    container = {**READY["containerStatuses"][0], "state": {"running": {"startedAt": _text(started)}}}
    for ordinal in range(replicas):
        metadata = {**stateful_set["spec"]["template"]["metadata"], "name": f"{name}-amd64-{ordinal}", "namespace": namespace}
        status = {**READY, "containerStatuses": [container]}
        api.add(PODS, {"metadata": metadata | {"creationTimestamp": _text(LONG_AGO)}, "spec": {"nodeName": "n"}, "status": status})


class Daemons:
    """Answers for every pod what it is made with, and remembers who was asked."""

    def __init__(self, use: PodUse | Exception | None = None) -> None:
        self.use = use or PodUse(active=0)
        self.asked: list[str] = []

    async def __call__(self, pod: PodInfo) -> PodUse:
        self.asked.append(pod.name)
        if isinstance(self.use, Exception):
            raise self.use
        return self.use


async def _stop(client: KubeClient, notes: Notes, daemons: Daemons, *, all_namespaces: bool = False) -> tuple[Stopped, ...]:
    return await stop_idle(client, await list_builders(client, all_namespaces=all_namespaces, emit=notes), ask=daemons)


def _replicas(api: FakeKubeApi, name: str = "b", namespace: str = "default") -> int:
    found = api.find(STATEFULSETS, f"{name}-amd64", namespace)
    assert found is not None
    return int(found["spec"]["replicas"])


async def test_stop_idle_stops_what_nobody_has_used_for_the_timeout_and_says_so(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    _add(api)

    (stopped,) = await _stop(client, notes, Daemons())

    assert _replicas(api) == 0
    since = f"{LONG_AGO:%Y-%m-%d %H:%M} UTC"
    assert str(stopped) == f'pool amd64 of builder "b" in namespace "default" stopped: not used since {since}'


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"idle_seconds": None}, id="without-timeout"),
        pytest.param({"idle_seconds": 6 * 3600}, id="longer-timeout"),
        pytest.param({"used": NOW - timedelta(minutes=10)}, id="used"),
        pytest.param({"started": NOW - timedelta(minutes=10), "used": None}, id="just-started"),
        pytest.param({"replicas": 0}, id="stopped"),
    ],
)
async def test_stop_idle_without_reason_asks_no_daemon(
    api: FakeKubeApi, client: KubeClient, notes: Notes, changes: dict[str, object]
) -> None:
    _add(api, **changes)  # type: ignore[arg-type]  # fields by name
    daemons, before = Daemons(), _replicas(api)

    assert await _stop(client, notes, daemons) == ()
    assert daemons.asked == []
    assert _replicas(api) == before


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(PodUse(active=1, last=LONG_AGO), id="builds"),
        pytest.param(PodUse(active=0, last=NOW - timedelta(minutes=10)), id="has-built"),
        pytest.param(DialError("no way in"), id="silent"),
    ],
)
async def test_stop_idle_leaves_a_pod_whose_daemon_is_not_idle(
    api: FakeKubeApi, client: KubeClient, notes: Notes, answer: PodUse | Exception
) -> None:
    _add(api)

    assert await _stop(client, notes, Daemons(answer)) == ()
    assert _replicas(api) == 1


async def test_stop_idle_without_the_right_to_ask_daemons_is_forbidden(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    _add(api)

    with pytest.raises(Forbidden):
        await _stop(client, notes, Daemons(Forbidden("not allowed to create pods/exec", status=403)))

    assert _replicas(api) == 1


async def test_stop_idle_goes_by_the_daemons_history_where_no_client_could_record_its_use(
    api: FakeKubeApi, client: KubeClient, notes: Notes
) -> None:
    _add(api, used=None)

    (stopped,) = await _stop(client, notes, Daemons(PodUse(active=0, last=NOW - timedelta(hours=2))))

    assert stopped.since == NOW - timedelta(hours=2)


async def test_stop_idle_does_not_wait_for_a_daemon_that_hangs(
    api: FakeKubeApi, client: KubeClient, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "load=50ms")
    _add(api)

    async def hang(_pod: PodInfo) -> PodUse:
        await asyncio.Event().wait()
        raise AssertionError("never set")

    assert await stop_idle(client, await list_builders(client, emit=notes), ask=hang) == ()
    assert _replicas(api) == 1


async def test_stop_idle_leaves_a_pool_that_a_build_begins_to_use_meanwhile(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    _add(api)

    async def used_now(_pod: PodInfo) -> PodUse:
        found = (await list_builders(client, emit=notes))[0].pools[0]
        await record_use(client, found, "default")
        return PodUse(active=0)

    assert await stop_idle(client, await list_builders(client, emit=notes), ask=used_now) == ()
    assert _replicas(api) == 1


async def test_stop_idle_of_a_set_that_changes_under_it_is_left(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    _add(api)
    api.fail("PATCH", "/statefulsets/", 409, reason="Conflict")

    assert await _stop(client, notes, Daemons()) == ()


async def test_stop_idle_without_the_right_to_is_forbidden(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    _add(api)
    api.fail("PATCH", "/statefulsets/", 403)

    with pytest.raises(Forbidden):
        await _stop(client, notes, Daemons())


async def test_stop_idle_reaches_every_namespace(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    _add(api, "b", namespace="one")
    _add(api, "c", namespace="two")

    stopped = await _stop(client, notes, Daemons(), all_namespaces=True)

    assert [(item.namespace, item.builder) for item in stopped] == [("one", "b"), ("two", "c")]
    assert _replicas(api, "b", "one") == _replicas(api, "c", "two") == 0


async def test_record_use_writes_it_once_a_minute_and_as_another_manager(api: FakeKubeApi, client: KubeClient, notes: Notes) -> None:
    _add(api)
    (builder,) = await list_builders(client, emit=notes)
    before = datetime.now(UTC)
    await record_use(client, builder.pools[0], "default")
    (builder,) = await list_builders(client, emit=notes)

    used = builder.pools[0].last_used
    assert used is not None
    assert before - timedelta(seconds=1) <= used <= datetime.now(UTC)  # it is written in whole seconds
    (patch,) = [request for request in api.requests if request.method == "PATCH"]
    assert patch.query == {"fieldManager": "kubectl-build-use"}

    await record_use(client, builder.pools[0], "default")
    assert len([request for request in api.requests if request.method == "PATCH"]) == 1


@pytest.mark.parametrize("text", ["yesterday", "2026-01-02T03:04:05"])
async def test_last_use_that_is_no_time_counts_as_not_known(api: FakeKubeApi, client: KubeClient, notes: Notes, text: str) -> None:
    _add(api)
    found = api.find(STATEFULSETS, "b-amd64")
    assert found is not None
    found["metadata"]["annotations"][ANNOTATION_LAST_USED] = text

    assert (await list_builders(client, emit=notes))[0].pools[0].last_used is None
