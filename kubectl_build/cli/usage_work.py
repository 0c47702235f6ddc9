"""The work behind `kubectl buildkit du` and `prune`: every daemon of the builder is asked, and what did not answer is told at the end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import typer

from kubectl_build.buildkit.usage import PruneOrder, UsageFilter, UsageRecord, UsageTotals, disk_usage, prune
from kubectl_build.cli.main import run_async
from kubectl_build.cli.replies import asked_of_all, raise_for_silence
from kubectl_build.cli.usage_text import Replies, all_records, usage_details, usage_document, usage_table, usage_totals
from kubectl_build.daemons import Link
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import UsageError
from kubectl_build.model.kubeflags import KubeFlags
from kubectl_build.progress.units import human_size
from kubectl_build.values import dataclass

_EVERYTHING = "WARNING! This will remove all build cache. Are you sure you want to continue?"
_DANGLING = "WARNING! This will remove all dangling build cache. Are you sure you want to continue?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """How the entries are printed: as a table, in the long form, or as JSON."""

    verbose: bool = False
    as_json: bool = False


def show_usage(builder: str, cluster: KubeFlags, wanted: UsageFilter, shown: Shown, *, connecting: float | None) -> int:
    """Print what the builder's daemons keep, and the sums. An empty `builder` is the preferred one.

    `connecting` is how many seconds reaching a daemon may take, here and below; None is the default.
    """

    async def ask(link: Link) -> tuple[UsageRecord, ...]:
        return await disk_usage(link.client, wanted)

    asked = asked_of_all(builder, cluster, ask, deadline=deadlines().usage, doing="listing the cache", connecting=connecting)
    return _print(asked, shown, usage_totals)


def prune_usage(builder: str, cluster: KubeFlags, order: PruneOrder, shown: Shown, *, connecting: float | None, force: bool) -> int:
    """Delete from the cache of all of the builder's daemons and print what went. Without `force` a person has to agree."""
    if not force and not _agreed(order):
        return 0

    async def ask(link: Link) -> tuple[UsageRecord, ...]:
        return await prune(link.client, link.info.version, order)

    asked = asked_of_all(builder, cluster, ask, deadline=deadlines().prune, doing="deleting from the cache", connecting=connecting)
    return _print(asked, shown, lambda totals: f"Total: {human_size(totals.total)}")


def _print(asked: AbstractAsyncContextManager[tuple[str, Replies]], shown: Shown, sums: Callable[[UsageTotals], str]) -> int:
    async def work() -> int:
        async with asked as (name, replies):
            _show(name, replies, shown)
            if not shown.as_json:
                print(sums(UsageTotals.of(all_records(replies))))
            raise_for_silence(name, replies)
        return 0

    return run_async(work)


def _agreed(order: PruneOrder) -> bool:
    if not sys.stdin.isatty():
        why = "prune deletes build cache, and nobody can be asked: stdin is no terminal"
        raise UsageError(why, hint="add --force to go on without being asked")
    return typer.confirm(_EVERYTHING if order.everything else _DANGLING, err=True)


def _show(builder: str, replies: Replies, shown: Shown) -> None:
    if shown.as_json:
        print(json.dumps(usage_document(builder, replies), indent=2))
    elif all_records(replies):
        now = time.time()
        print(usage_details(replies, now) + "\n" if shown.verbose else usage_table(replies, now))
