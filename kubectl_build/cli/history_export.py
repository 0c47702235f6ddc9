"""The work behind `kubectl buildkit history export`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from kubectl_build.buildkit.history_archive import ArchivedBuild, read_build, write_archive
from kubectl_build.cli.files import check_result_file, write_result_bytes
from kubectl_build.cli.history_text import Entry
from kubectl_build.cli.history_work import open_history
from kubectl_build.cli.main import run_async
from kubectl_build.cli.replies import raise_for_silence
from kubectl_build.errors import UsageError
from kubectl_build.model.kubeflags import KubeFlags


def export_builds(builder: str, cluster: KubeFlags, refs: Sequence[str], *, everything: bool, output: Path | None) -> int:
    """Write an archive of the builds to a file, or to stdout."""
    if everything and refs:
        raise UsageError("export takes build IDs or --all, not both", hint="see: kubectl buildkit history ls")
    if output is None and sys.stdout.isatty():
        raise UsageError("an archive is not written to a terminal", hint="name a file: --output NAME.dockerbuild")
    if output is not None:
        check_result_file("--output", output)

    async def work() -> int:
        async with open_history(builder, cluster) as found:
            ended = [entry for entry in found.entries if entry[1].completed is not None]
            wanted = ended if everything else [found.chosen(ref, ended=True) for ref in refs or [""]]
            if everything:
                raise_for_silence(found.builder, found.replies)
            if not wanted:
                raise UsageError(f'builder "{found.builder}" remembers no build that has ended', hint="see: kubectl buildkit history ls")
            builds = [await _read(entry) for entry in {entry[1].ref: entry for entry in wanted}.values()]
        archive = BytesIO()
        await asyncio.to_thread(write_archive, builds, archive)
        if output is not None:
            write_result_bytes(output, archive.getvalue())
            print(f"wrote {os.fspath(output)}", file=sys.stderr)
        else:
            sys.stdout.buffer.write(archive.getvalue())
        return 0

    return run_async(work)


async def _read(entry: Entry) -> ArchivedBuild:
    member, record = entry
    async with member.open() as link:
        return await read_build(link.client, record, str(link.own))
