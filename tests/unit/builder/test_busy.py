from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable

import pytest

from kubectl_build.builder import busy
from kubectl_build.builder.busy import wait_until_idle
from kubectl_build.builder.names import labels
from kubectl_build.builder.state import PodInfo
from kubectl_build.cluster.client import LEASES, PODS, KubeClient
from kubectl_build.deadlines import VARIABLE
from kubectl_build.errors import ClusterError, DialError
from tests.fakes.kube_api import FakeKubeApi
from tests.unit.builder.conftest import Notes
from tests.unit.builder.controller import READY


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy, "_ASK_INTERVAL", 0.01)


@pytest.fixture
def add_pod(api: FakeKubeApi) -> Callable[..., None]:
    def add(name: str, *, phase: str = "Running", builder: str = "b", **metadata: str) -> None:
        api.add(PODS, {"metadata": {"name": name, "labels": labels(builder, "amd64"), **metadata}, "status": {**READY, "phase": phase}})

    return add


def _add_lease(api: FakeKubeApi, pod: str, holder: str) -> None:
    annotations = {"kubectl-build/pod": pod, "kubectl-build/build-platforms": "linux/amd64"}
    metadata = {"name": f"{pod}-{holder}", "labels": labels("b", "amd64"), "annotations": annotations}
    metadata["creationTimestamp"] = "2026-01-02T03:04:05Z"
    api.add(LEASES, {"metadata": metadata, "spec": {"holderIdentity": holder, "leaseDurationSeconds": 60, "renewTime": "r"}})


class Daemons:
    """What each pod's daemon answers, one answer after the other; the last one stays."""

    def __init__(self, **answers: list[int | Exception]) -> None:
        self.answers = copy.copy(answers)
        self.asked: list[str] = []

    async def __call__(self, pod: PodInfo) -> int:
        self.asked.append(pod.name)
        answers = self.answers[pod.name]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def _wait(client: KubeClient, notes: Notes, daemons: Daemons, *, deadline: float = 20.0, force: bool = False) -> None:
    await wait_until_idle(client, "b", active_builds=daemons, doing="removed", emit=notes, deadline=deadline, force=force)


async def test_wait_for_idle_pods_is_over_at_once_and_reads_no_leases(
    api: FakeKubeApi, client: KubeClient, notes: Notes, add_pod: Callable[..., None]
) -> None:
    add_pod("p0")
    add_pod("other", builder="c")

    await _wait(client, notes, Daemons(p0=[0]))

    assert notes.texts == []
    assert [request.path for request in api.requests] == ["/api/v1/namespaces/default/pods"]


async def test_wait_tells_who_builds_until_they_have_ended(
    api: FakeKubeApi, client: KubeClient, notes: Notes, add_pod: Callable[..., None]
) -> None:
    add_pod("p0")
    add_pod("p1")
    _add_lease(api, "p0", "ann@desk")

    await _wait(client, notes, Daemons(p0=[2, 0], p1=[1, 1, 0]))

    assert notes.texts == [
        'builder "b" is removed when its builds have ended: pod p0 builds for ann@desk (linux/amd64, since 03:04 UTC) '
        "and 1 more; pod p1 runs 1 build, and no Lease tells whose",
        'builder "b" is removed when its builds have ended: pod p1 runs 1 build, and no Lease tells whose',
    ]


async def test_wait_that_is_too_long_names_who_builds_and_what_to_do(
    api: FakeKubeApi, client: KubeClient, notes: Notes, add_pod: Callable[..., None]
) -> None:
    add_pod("p0")
    _add_lease(api, "p0", "ann@desk")

    with pytest.raises(ClusterError, match=r'builder "b" was not removed, as it builds: pod p0 builds for ann@desk') as raised:
        await _wait(client, notes, Daemons(p0=[1]), deadline=0.0)
    assert raised.value.hint is not None
    assert "--force" in raised.value.hint


async def test_wait_with_force_says_whose_builds_end(client: KubeClient, notes: Notes, add_pod: Callable[..., None]) -> None:
    add_pod("p0")

    await _wait(client, notes, Daemons(p0=[3]), force=True)

    assert notes.texts == ['builder "b" is removed although it builds: pod p0 runs 3 builds, and no Lease tells whose']


async def test_pods_that_do_not_run_or_end_already_are_not_asked(client: KubeClient, notes: Notes, add_pod: Callable[..., None]) -> None:
    add_pod("p0", phase="Pending")
    add_pod("p1", deletionTimestamp="2026-01-02T03:04:05Z")
    daemons = Daemons()

    await _wait(client, notes, daemons)

    assert daemons.asked == []


async def test_daemon_that_does_not_answer_counts_as_idle_with_one_note(
    client: KubeClient, notes: Notes, add_pod: Callable[..., None]
) -> None:
    add_pod("p0")
    add_pod("p1")

    await _wait(client, notes, Daemons(p0=[DialError("no way in")], p1=[1, 1, 0]))

    assert [text for text in notes.texts if "p0" in text] == ["whether pod p0 builds is not known: no way in"]


async def test_daemon_that_does_not_answer_is_spoken_for_by_its_leases(
    api: FakeKubeApi, client: KubeClient, notes: Notes, add_pod: Callable[..., None]
) -> None:
    add_pod("p0")
    _add_lease(api, "p0", "ann@desk")

    with pytest.raises(ClusterError, match="pod p0 builds for ann@desk"):
        await _wait(client, notes, Daemons(p0=[DialError("no way in")]), deadline=0.0)


async def test_daemon_that_hangs_is_not_waited_for_without_end(
    client: KubeClient, notes: Notes, add_pod: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "load=50ms")
    add_pod("p0")

    async def hang(_pod: PodInfo) -> int:
        await asyncio.Event().wait()
        return 0

    await wait_until_idle(client, "b", active_builds=hang, doing="stopped", emit=notes, deadline=5)

    assert notes.texts == ["whether pod p0 builds is not known: its daemon did not answer within 0.05 s"]


async def test_leases_that_may_not_be_listed_leave_the_number_of_builds(
    api: FakeKubeApi, client: KubeClient, notes: Notes, add_pod: Callable[..., None]
) -> None:
    add_pod("p0")
    api.fail("GET", "/leases", 403)

    with pytest.raises(ClusterError, match="pod p0 runs 1 build, and no Lease tells whose"):
        await _wait(client, notes, Daemons(p0=[1]), deadline=0.0)
