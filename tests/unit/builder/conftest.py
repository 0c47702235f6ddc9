from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from kubectl_build.cluster.client import KubeClient, open_client
from kubectl_build.model.events import BuildEvent, Note
from tests.fakes.kube_api import FakeKubeApi, open_fake_kube_api


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


@pytest.fixture
def notes() -> Notes:
    return Notes()
