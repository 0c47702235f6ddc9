"""The work behind `kubectl buildkit report`: builds are replayed from the daemons' histories into the facts of a page."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

from kubectl_build.buildkit.histories import HistoryRecord, Outcome, image_tops, provenance_of, replay
from kubectl_build.buildkit.layers import read_layers
from kubectl_build.buildkit.sources import provenance_sources
from kubectl_build.cli.files import check_result_file, write_result_bytes
from kubectl_build.cli.history_text import Entry
from kubectl_build.cli.history_work import open_history
from kubectl_build.cli.main import run_async
from kubectl_build.cli.notes import note
from kubectl_build.daemons import Link
from kubectl_build.errors import ConnectionLost, ProtocolError, UsageError
from kubectl_build.model.events import Note, Placed
from kubectl_build.model.kubeflags import KubeFlags
from kubectl_build.model.masking import masked_attrs
from kubectl_build.model.observed import BuildSources, ImageLayer, PoolBegun, PoolMade
from kubectl_build.model.platform import parse_platform, runs_on
from kubectl_build.report.collect import Collector
from kubectl_build.report.facts import Heading
from kubectl_build.report.page import render_page

_STDOUT = Path("-")
_STATUS = {Outcome.ERROR: "failed"}


def write_report(builder: str, cluster: KubeFlags, refs: Sequence[str], output: Path | None) -> int:
    """Write the page of a build, or of one build's parts on several pools, to `output`, by default a file named for the build."""
    if output is not None and output != _STDOUT:
        check_result_file("--output", output)

    async def work() -> int:
        collector = Collector(live=False)
        async with open_history(builder, cluster) as found:
            entries = [found.chosen(ref, ended=True) for ref in refs]
            if len({record.ref for _, record in entries}) < len(entries):
                raise UsageError("a build is named twice", hint="see: kubectl buildkit history ls")
            for member, record in entries:
                async with member.open() as link:
                    await _recall(collector, link, record, label=_label(link, entries))
        began = min(record.created for _, record in entries)
        ended = max(record.completed or record.created for _, record in entries)
        page = render_page(_heading(found.builder, entries), collector.facts(began=began, ended=ended))
        if output == _STDOUT:
            sys.stdout.buffer.write(page)
            return 0
        path = output or Path(f"build-{entries[0][1].ref}.html")
        await asyncio.to_thread(write_result_bytes, path, page)
        print(f"wrote {path}", file=sys.stderr)
        return 0

    return run_async(work)


def _label(link: Link, entries: Sequence[Entry]) -> str:
    """What marks the steps of a daemon where there are several: its pool, or its pod where two are of one pool."""
    if len(entries) == 1:
        return ""
    return link.pool if sum(member.pool == link.pool for member, _ in entries) < 2 else link.name


async def _recall(collector: Collector, link: Link, record: HistoryRecord, *, label: str) -> None:
    """Tell the collector what there is to know of one daemon's build. What cannot be read is a note, and left out."""
    sources, images = BuildSources(), dict[str, tuple[ImageLayer, ...]]()
    try:
        statements = {
            platform or _platform(link, record): await link.client.read_content(digest)
            for platform, digest in provenance_of(record).items()
        }
        sources = provenance_sources(statements)
        images = await read_layers(link.client, image_tops(record))
    except (ConnectionLost, ProtocolError) as error:
        note(Note(text=f"a part of the report is left out: {error.message}", level="warning"))
    platforms = record.platforms or (_platform(link, record),)
    for platform in platforms:
        collector.event(Placed(platform=platform, mode=_mode(platform, link.pool, sources), pool=link.pool), record.created)
    collector.observe(
        PoolBegun(
            pool=link.pool,
            label=label,
            pod=link.name,
            node=link.node,
            version=link.info.version,
            platforms=platforms,
            sources=sources,
        )
    )
    collector.observe(PoolMade(pool=link.pool, ref=record.ref, images=images))
    async with aclosing(replay(link.client, record.ref, pool=label)) as updates:
        async for update in updates:
            collector.event(update, record.created)


def _platform(link: Link, record: HistoryRecord) -> str:
    return record.platforms[0] if len(record.platforms) == 1 else str(link.own)


def _mode(platform: str, pool: str, sources: BuildSources) -> str:
    """How a platform was built, by the commands that were run for it."""
    commands = {origin.runs_on for origin in sources.steps.values() if origin.runs_on and platform in origin.platforms}
    if not sources.steps:
        return ""
    if not all(runs_on(parse_platform(command), pool, arm32=False) for command in commands):
        return "QEMU"
    return "native" if runs_on(parse_platform(platform), pool, arm32=False) else "cross"


def _heading(builder: str, entries: Sequence[Entry]) -> Heading:
    record = entries[0][1]
    failed = next((record for _, record in entries if record.error), None)
    outcome = failed.outcome if failed else record.outcome
    attrs = {name: value for name, value in masked_attrs(record.attrs).items() if name != "frontend.caps"}
    return Heading(
        title=record.name or "build",
        status=_STATUS.get(outcome, outcome.value),
        error=failed.error if failed else "",
        facts={
            "Builder": builder,
            "Build ID": ", ".join(record.ref for _, record in entries),
            "Digest": record.response.get("containerimage.digest", "") if len(entries) == 1 else "",
            **attrs,
        },
    )
