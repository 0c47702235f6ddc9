"""du and prune against a real buildkitd: what it lists, which filters it understands, what is gone afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from kubectl_build.buildkit import open_daemon
from kubectl_build.buildkit.client import BuildkitClient
from kubectl_build.buildkit.usage import PruneOrder, UsageFilter, UsageTotals, disk_usage, prune
from kubectl_build.cli.options.filters import parse_filters
from kubectl_build.errors import UsageError
from tests.integration.buildkitd import running_buildkitd

pytestmark = pytest.mark.integration

SIZE = 300_000


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory, buildkitd: Path) -> Iterator[Path]:
    """A daemon of this module's own: what it deletes is missed by nobody."""
    with running_buildkitd(tmp_path_factory.mktemp("pruned")) as address:
        yield address


@pytest.fixture
async def client(socket: Path, tmp_path: Path) -> AsyncIterator[BuildkitClient]:
    """A connection to it, when it has built something new."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY data /\n")
    (tmp_path / "data").write_bytes(tmp_path.name.encode() * (SIZE // len(tmp_path.name)))
    async with open_daemon(f"unix://{socket}") as daemon:
        await daemon.build(tmp_path)
        yield daemon.client


async def test_usage_has_what_was_built(client: BuildkitClient) -> None:
    records = await disk_usage(client, UsageFilter())
    assert {"regular", "source.local"} <= {record.type for record in records}
    assert UsageTotals.of(records).total >= SIZE
    assert all(record.created > 0 and record.id for record in records)


@pytest.mark.parametrize(
    "texts",
    [
        ["type=regular"],
        ["type!=regular"],
        ["description~=^mount"],
        ["description=a b, c"],
        ["inuse"],
        ["mutable=true", "private"],
        ["immutable", "shared=false"],
        ["parents~=x"],
        ["id=no-such-id"],
        ["until=24h"],
    ],
)
async def test_every_filter_that_is_taken_is_understood_by_the_daemon(client: BuildkitClient, texts: list[str]) -> None:
    every = await disk_usage(client, UsageFilter())
    found = await disk_usage(client, parse_filters(texts))
    later = await disk_usage(client, UsageFilter())  # the daemon may still be tidying up after the build
    assert {record.id for record in found} <= {record.id for record in (*every, *later)}


async def test_filters_by_type_and_by_being_mutable_choose_what_they_say(client: BuildkitClient) -> None:
    assert {record.type for record in await disk_usage(client, parse_filters(["type=source.local"]))} == {"source.local"}
    assert all(record.mutable for record in await disk_usage(client, parse_filters(["mutable"])))
    assert not any(record.mutable for record in await disk_usage(client, parse_filters(["mutable=false"])))


async def test_filter_that_the_daemon_does_not_understand_is_the_users_error(client: BuildkitClient) -> None:
    with pytest.raises(UsageError, match="does not understand"):
        await disk_usage(client, UsageFilter(expression="=="))


async def test_prune_by_filter_takes_that_and_leaves_the_rest(client: BuildkitClient) -> None:
    wanted = parse_filters(["type=source.local"])
    sources = {record.id for record in await disk_usage(client, wanted)}
    gone = await prune(client, "v0.31.2", PruneOrder(filter=wanted))
    assert sources == {record.id for record in gone}
    left = {record.type for record in await disk_usage(client, UsageFilter())}
    assert "source.local" not in left
    assert "regular" in left


async def test_prune_keeps_what_may_stay_and_what_was_used_just_now(client: BuildkitClient) -> None:
    assert await prune(client, "v0.31.2", PruneOrder(everything=True, reserved_space=1 << 40)) == ()
    assert await prune(client, "v0.31.2", PruneOrder(everything=True, filter=parse_filters(["until=24h"]))) == ()


async def test_prune_of_everything_leaves_nothing_reclaimable(client: BuildkitClient) -> None:
    before = await disk_usage(client, UsageFilter())
    gone = await prune(client, "v0.31.2", PruneOrder(everything=True))
    assert UsageTotals.of(gone).total >= SIZE
    assert {record.id for record in gone} <= {record.id for record in before}
    assert UsageTotals.of(await disk_usage(client, UsageFilter())).reclaimable == 0
