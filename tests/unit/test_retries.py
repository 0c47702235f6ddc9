"""Trying again what the infrastructure broke."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from kubectl_build import retries as module
from kubectl_build.daemons import Link
from kubectl_build.errors import (
    ApiUnreachable,
    BuilderNotReady,
    ConnectionLost,
    DialError,
    Forbidden,
    KubectlBuildError,
    ProtocolError,
    RegistryError,
    SolveError,
)
from kubectl_build.model.events import BuildEvent, Note
from kubectl_build.pools import Pools
from kubectl_build.retries import Retries

FIRST = cast("Link", "the first link")


class FakePools:
    """Links by number; `refusals` are what linking raises, one after the other, before it succeeds."""

    def __init__(self, refusals: Sequence[KubectlBuildError | None] = ()) -> None:
        self.refusals = list(refusals)
        self.links = 0

    @asynccontextmanager
    async def link(self, pool: str) -> AsyncIterator[str]:
        refusal = self.refusals.pop(0) if self.refusals else None
        if refusal is not None:
            raise refusal
        self.links += 1
        yield f"{pool} {self.links}"


class Attempts:
    """An attempt that fails with each of `failures` in turn, and remembers the links that it was given."""

    def __init__(self, *failures: KubectlBuildError) -> None:
        self.failures = list(failures)
        self.links: list[Any] = []

    async def __call__(self, link: Any) -> str:
        self.links.append(link)
        if self.failures:
            raise self.failures.pop(0)
        return f"done on {link}"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.001)


async def run(
    attempt: Callable[[Link], Awaitable[str]], *, pools: FakePools | None = None, limit: int = 2, first: Link | None = None
) -> tuple[str, list[str]]:
    events: list[BuildEvent] = []
    retries = Retries(pools=cast("Pools", pools or FakePools()), limit=limit, emit=events.append)
    result = await retries.on_link("amd64", attempt, first=first)
    return result, [event.text for event in events if isinstance(event, Note) and event.level != "wait"]


async def test_lost_connection_is_tried_again_on_a_new_link_with_the_reason() -> None:
    attempt = Attempts(ConnectionLost("pod a-0 was lost: OOMKilled"))

    result, notes = await run(attempt)

    assert result == "done on amd64 2"
    assert notes == ["pod a-0 was lost: OOMKilled; trying again (2 of 3)"]


async def test_link_that_is_there_already_is_used_first() -> None:
    attempt = Attempts(ConnectionLost("lost"))

    await run(attempt, first=FIRST)

    assert attempt.links == [FIRST, "amd64 1"]


async def test_registry_that_fails_for_now_is_tried_again_as_cached() -> None:
    _, notes = await run(Attempts(RegistryError("the registry answered 503", status=503)))

    assert notes == ["the registry answered 503; trying again (2 of 3): every finished step is cached"]


@pytest.mark.parametrize(
    "error",
    [
        SolveError("a step failed"),
        ProtocolError("nonsense"),
        RegistryError("denied", status=403),
        RegistryError("who are you", status=401),
        RegistryError("no such repository", status=404),
        RegistryError("the name is not known"),
    ],
)
async def test_failure_that_would_come_again_is_raised_at_once(error: KubectlBuildError) -> None:
    attempt = Attempts(error)

    with pytest.raises(type(error)):
        await run(attempt)

    assert len(attempt.links) == 1


@pytest.mark.parametrize("error", [ConnectionLost("lost"), RegistryError("busy", status=500)])
async def test_last_failure_is_raised_and_nobody_outside_tries_again(error: KubectlBuildError) -> None:
    attempt = Attempts(ConnectionLost("lost"), ConnectionLost("lost"), error)

    with pytest.raises(type(error)) as caught:
        await run(attempt)

    assert len(attempt.links) == 3
    assert not caught.value.transient


async def test_no_retries_means_one_try() -> None:
    attempt = Attempts(ConnectionLost("lost"))

    with pytest.raises(ConnectionLost):
        await run(attempt, limit=0)

    assert len(attempt.links) == 1


async def test_cancelled_attempt_that_looks_like_a_lost_connection_is_not_tried_again() -> None:
    began, tries = asyncio.Event(), 0

    async def attempt(_link: Link) -> str:
        nonlocal tries
        tries += 1
        began.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            raise ConnectionLost("the connection ended while it was in use") from None
        return ""

    task = asyncio.create_task(run(attempt))
    await began.wait()
    task.cancel()
    with pytest.raises(ConnectionLost):
        await task

    assert tries == 1


async def test_api_server_that_is_away_after_a_loss_is_waited_for_without_using_up_tries() -> None:
    away: list[KubectlBuildError | None] = [None, *(ApiUnreachable("refused") for _ in range(4)), DialError("the kubelet is away")]

    result, notes = await run(Attempts(ConnectionLost("lost")), pools=FakePools(away), limit=1)

    assert result == "done on amd64 2"
    assert notes == ["lost; trying again (2 of 2)"]


async def test_daemon_whose_restart_the_kubelet_delays_is_waited_for() -> None:
    crashed = BuilderNotReady("buildkitd of pod a-0 ended with exit code 137", reason="CrashLoopBackOff")

    result, _ = await run(Attempts(ConnectionLost("lost")), pools=FakePools([None, crashed, crashed]), limit=1)

    assert result == "done on amd64 2"


@pytest.mark.parametrize("lost", [None, ConnectionLost("lost")])
async def test_builder_that_cannot_start_for_another_reason_is_told_at_once(lost: ConnectionLost | None) -> None:
    reason = "ImagePullBackOff" if lost else "CrashLoopBackOff"
    refused = BuilderNotReady("the image cannot be pulled", reason=reason)
    pools, attempts = (FakePools([None, refused]), Attempts(lost)) if lost else (FakePools([refused]), Attempts())

    with pytest.raises(BuilderNotReady):
        await run(attempts, pools=pools)


async def test_builder_that_stays_away_after_a_loss_is_told_with_both_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECTL_BUILD_DEADLINES", "reconnect=20ms")
    away: list[KubectlBuildError | None] = [None, *(ApiUnreachable("connection refused") for _ in range(100))]

    with pytest.raises(ConnectionLost) as caught:
        await run(Attempts(ConnectionLost("the stream broke")), pools=FakePools(away))

    assert caught.value.message == "the stream broke; and 0.02 s later the builder could not be reached again: connection refused"
    assert not caught.value.transient


@pytest.mark.parametrize("error", [ApiUnreachable("refused"), Forbidden("no", status=403)])
async def test_cluster_that_fails_before_anything_was_begun_is_told_at_once(error: KubectlBuildError) -> None:
    with pytest.raises(type(error)):
        await run(Attempts(), pools=FakePools([error]))


async def test_right_that_is_missing_after_a_loss_is_told_at_once() -> None:
    pools = FakePools([None, Forbidden("no exec", status=403)])

    with pytest.raises(Forbidden):
        await run(Attempts(ConnectionLost("lost")), pools=pools)
