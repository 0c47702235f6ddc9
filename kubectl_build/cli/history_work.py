"""The work behind `kubectl buildkit history`: every daemon of the builder is asked, and one of them for what is about one build."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

from kubectl_build.buildkit.histories import HistoryRecord, delete_record, list_records, replay
from kubectl_build.cli.history_text import (
    Entry,
    description,
    entries_of,
    history_document,
    history_table,
    line_document,
    record_document,
)
from kubectl_build.cli.main import run_async
from kubectl_build.cli.options.builds import chosen, parse_build_filters
from kubectl_build.cli.printing import document_text
from kubectl_build.cli.replies import asked_of_all, raise_alone, raise_for_silence
from kubectl_build.daemons import Link
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import UsageError
from kubectl_build.model.kubeflags import KubeFlags
from kubectl_build.progress.display import open_display
from kubectl_build.survey import Reply, ask_each
from kubectl_build.values import dataclass

Replies = tuple[Reply[list[HistoryRecord]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListShape:
    """How a list is printed: a table with `whole` names or not, as `output` says (wide, name, json, yaml), or JSON `lines`."""

    output: str = ""
    lines: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a builder's daemons remember, with those that did not answer."""

    builder: str
    replies: Replies
    entries: list[Entry]

    def chosen(self, ref: str, *, ended: bool = False) -> Entry:
        """The build that `ref` means, as `options.builds.chosen`; with `ended` only of those that do not run any more.

        Raises ClusterError when it is not found and a pod did not answer, UsageError.
        """
        newest = sorted((e for e in self.entries if not ended or e[1].completed is not None), key=lambda entry: -entry[1].created)
        try:
            return chosen(ref, newest)
        except UsageError:
            raise_for_silence(self.builder, self.replies)
            raise


@asynccontextmanager
async def open_history(builder: str, cluster: KubeFlags) -> AsyncIterator[History]:
    """Ask all daemons of a builder, "" for the preferred one; its members can be connected to while the body runs."""

    async def ask(link: Link) -> list[HistoryRecord]:
        return await list_records(link.client)

    async with asked_of_all(builder, cluster, ask, deadline=deadlines().call, doing="listing the builds") as (name, replies):
        yield History(builder=name, replies=replies, entries=entries_of(replies))


def list_builds(builder: str, cluster: KubeFlags, filters: Sequence[str], shape: ListShape) -> int:
    """Print the builds, the newest first."""
    now = time.time()
    wanted = parse_build_filters(filters, now)

    async def work() -> int:
        async with open_history(builder, cluster) as found:
            entries = [entry for entry in found.entries if wanted(entry[1])]
        if shape.output in ("json", "yaml"):
            print(document_text(history_document(found.builder, found.replies, entries, now), shape.output))
        elif shape.output == "name":
            print("".join(f"{record.ref}\n" for _, record in entries), end="")
        elif shape.lines:
            print("".join(json.dumps(line_document(found.builder, entry)) + "\n" for entry in entries), end="")
        elif entries:
            print(history_table(entries, now, whole=shape.whole, wide=shape.output == "wide"))
        else:
            print(
                f'builder "{found.builder}" remembers no such build' if filters else f'builder "{found.builder}" remembers no build',
                file=sys.stderr,
            )
        raise_for_silence(found.builder, found.replies)
        return 0

    return run_async(work)


def inspect_build(builder: str, cluster: KubeFlags, ref: str, *, output: str) -> int:
    """Print what is known of one build: for people, or as `output` (json, yaml) says."""

    async def work() -> int:
        async with open_history(builder, cluster) as found:
            entry = found.chosen(ref)
        now = time.time()
        print(document_text(record_document(entry, now), output) if output else description(entry, now))
        return 0

    return run_async(work)


def show_log(builder: str, cluster: KubeFlags, ref: str, *, raw: bool) -> int:
    """Print a build's progress again on stdout."""

    async def work() -> int:
        async with AsyncExitStack() as stack:
            found = await stack.enter_async_context(open_history(builder, cluster))
            member, record = found.chosen(ref)
            link = await stack.enter_async_context(member.open())
            display = await stack.enter_async_context(open_display("rawjson" if raw else "plain", sys.stdout, environ={}))
            async with aclosing(replay(link.client, record.ref)) as updates:
                async for update in updates:
                    display.update(update)
        return 0

    return run_async(work)


def remove_builds(builder: str, cluster: KubeFlags, refs: Sequence[str], *, everything: bool) -> int:
    """Delete records and print their IDs."""
    if everything == bool(refs):
        raise UsageError(
            "rm takes build IDs or --all" if not refs else "rm takes build IDs or --all, not both", hint="see: kubectl buildkit history ls"
        )

    async def work() -> int:
        async with open_history(builder, cluster) as found:
            ended = [entry for entry in found.entries if entry[1].completed is not None]
            wanted = ended if everything else [found.chosen(ref) for ref in refs]
            for _, record in wanted:
                if record.completed is None:
                    raise UsageError(f"build {record.ref} runs and cannot be deleted", hint="see: kubectl buildkit ps")
            by_pod = {member.name: [r.ref for m, r in wanted if m.name == member.name] for member, _ in wanted}

            async def delete(link: Link) -> None:
                for ref in by_pod[link.name if link.pod is None else link.pod.name]:
                    await delete_record(link.client, ref)
                    print(ref)

            members = list({member.name: member for member, _ in wanted}.values())
            removed = await ask_each(members, delete, deadline=deadlines().usage, doing="deleting builds from the history")
        raise_alone(removed)
        raise_for_silence(found.builder, [*removed, *(found.replies if everything else ())])
        return 0

    return run_async(work)
