from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from kubectl_build.builder import explain, follow, waiting
from kubectl_build.cluster.client import KubeClient, open_client
from kubectl_build.model.events import BuildEvent, Note
from tests.fakes.kube_api import FakeKubeApi, open_fake_kube_api


async def until(condition: Callable[[], object]) -> None:
    """Let the other tasks run until something that they do can be seen."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  what is waited for is in a server or a list, which have no event to wait for
            await asyncio.sleep(0)


class Notes(list[BuildEvent]):
    """A sink that keeps what it is given."""

    def __call__(self, event: BuildEvent) -> None:
        self.append(event)

    @property
    def texts(self) -> list[str]:
        """The notes' texts, without those that only end a wait."""
        return [event.text for event in self if isinstance(event, Note) and event.text]


@pytest.fixture
async def api() -> AsyncIterator[FakeKubeApi]:
    async with open_fake_kube_api() as server:
        yield server


@pytest.fixture
async def client(api: FakeKubeApi) -> AsyncIterator[KubeClient]:
    async with open_client(api.connection()) as opened:
        yield opened


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here depends on how long a wait is, so none is long."""
    monkeypatch.setattr(waiting, "_EVENTS_AFTER", 0.0)
    monkeypatch.setattr(waiting, "_TICK", 0.01)
    monkeypatch.setattr(explain, "_AT_ONCE", 0.0)
    monkeypatch.setattr(follow, "_LIST_INTERVAL", 0.0)
    monkeypatch.setattr(follow, "_PAUSE", 0.0)


@pytest.fixture
def notes() -> Notes:
    return Notes()
