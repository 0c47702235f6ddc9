"""A buildkitd of our own for the tests that need a real one: its state in a temporary directory, its socket beside it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.integration.buildkitd import running_buildkitd
from tests.integration.daemon import Daemon, connect


@pytest.fixture(scope="session")
def buildkitd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a running buildkitd with runc and the native snapshotter."""
    if os.geteuid() != 0:
        pytest.skip("buildkitd needs root here")
    with running_buildkitd(tmp_path_factory.mktemp("buildkitd")) as address:
        yield address


@pytest.fixture
async def daemon(buildkitd: Path) -> AsyncIterator[Daemon]:
    """A channel to it."""
    async with connect(buildkitd) as client:
        yield client
