"""The place of the faults that run with the ordinary tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import owner
from tests.e2e import environment
from tests.faults.bench import Bench, open_bench


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A namespace with a builder."""
    cluster = environment.load()
    if cluster is None:
        pytest.fail("the local cluster is not up: run `make cluster`", pytrace=False)
    with owner.tests_lock(timeout_s=600), open_bench(cluster, tmp_path_factory.mktemp("faults")) as made:
        yield made
