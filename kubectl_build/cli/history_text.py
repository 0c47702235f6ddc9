"""What `history` prints, for people and as JSON (pure). Columns, keys and words are those of `docker buildx history`, with the pod."""

from __future__ import annotations

from collections.abc import Sequence

from kubectl_build.buildkit.histories import HistoryRecord, iso_time
from kubectl_build.cli.tables import table
from kubectl_build.cli.usage_text import human_duration
from kubectl_build.model.digest import Descriptor
from kubectl_build.model.json import JsonObject
from kubectl_build.model.masking import masked_attrs
from kubectl_build.progress.escape import clean, clean_line
from kubectl_build.survey import Member, Reply

Entry = tuple[Member, HistoryRecord]

_NAME_WIDTH = 36


def entries_of(replies: Sequence[Reply[list[HistoryRecord]]]) -> list[Entry]:
    """The builds of all daemons: those that run first, then the newest first."""
    found = [(reply.member, record) for reply in replies for record in reply.answer or ()]
    return sorted(found, key=lambda entry: (entry[1].completed is not None, -entry[1].created))


def history_table(entries: Sequence[Entry], now: float, *, whole: bool, wide: bool = False) -> str:
    """A line for each build; long names lose their beginning unless `whole`. `wide` adds where, for what and how much."""
    rows = [
        [
            clean_line(record.ref),
            clean_line(record.name if whole else _cut(record.name)),
            record.outcome.value.capitalize(),
            f"{human_duration(max(now - record.created, 0.0))} ago",
            duration(record, now),
            member.name,
            *([member.node, clean_line(",".join(record.platforms)), _steps(record)] if wide else []),
        ]
        for member, record in entries
    ]
    return table(["BUILD ID", "NAME", "STATUS", "CREATED AT", "DURATION", "POD", *(["NODE", "PLATFORMS", "STEPS"] if wide else [])], rows)


def _steps(record: HistoryRecord) -> str:
    cached = f" ({record.cached_steps} cached)" if record.cached_steps else ""
    return f"{record.completed_steps}/{record.total_steps}{cached}"


def duration(record: HistoryRecord, now: float) -> str:
    """How long a build took, `12.3s` or `2m  5s`; with a plus while it runs."""
    seconds = record.seconds(now)
    text = f"{seconds:.1f}s" if seconds < 60 else f"{int(seconds // 60)}m {int(seconds % 60):2d}s"
    return text if record.completed is not None else f"{text}+"


def line_document(builder: str, entry: Entry) -> JsonObject:
    """A build as one line of `ls --format json`, by buildx's keys."""
    member, record = entry
    return {
        **({"completed_at": iso_time(record.completed)} if record.completed is not None else {}),
        "cached_steps": record.cached_steps,
        "completed_steps": record.completed_steps,
        "created_at": iso_time(record.created),
        "name": record.name,
        "ref": f"{builder}/{member.name}/{record.ref}",
        "status": record.outcome.value.capitalize(),
        "total_steps": record.total_steps,
    }


def record_document(entry: Entry, now: float) -> JsonObject:
    """All that is known of a build."""
    member, record = entry
    return {
        "ref": record.ref,
        "name": record.name,
        "status": record.outcome.value,
        "pod": member.name,
        "pool": member.pool,
        "node": member.node,
        "createdAt": iso_time(record.created),
        "completedAt": None if record.completed is None else iso_time(record.completed),
        "seconds": round(record.seconds(now), 3),
        "platforms": list(record.platforms),
        "error": record.error,
        "steps": {"total": record.total_steps, "completed": record.completed_steps, "cached": record.cached_steps},
        "warnings": record.warnings,
        "attrs": masked_attrs(record.attrs),
        "exporters": [{"type": kind, "attrs": dict(attrs)} for kind, attrs in record.exporters],
        "response": dict(record.response),
        "statements": [
            {"platform": platform, "type": _kind(item), "digest": item.digest, "size": item.size} for platform, item in _statements(record)
        ],
    }


def history_document(builder: str, replies: Sequence[Reply[list[HistoryRecord]]], entries: Sequence[Entry], now: float) -> JsonObject:
    """The builds, with the pods that did not answer."""
    failed = [{"name": reply.member.name, "error": reply.error.message} for reply in replies if reply.error]
    return {"builder": builder, "builds": [record_document(entry, now) for entry in entries], **({"failed": failed} if failed else {})}


def description(entry: Entry, now: float) -> str:
    """One build for people, in paragraphs."""
    member, record = entry
    attrs = masked_attrs(record.attrs)
    steps = f"{record.completed_steps} of {record.total_steps} completed, {record.cached_steps} cached"
    first = [
        ("Name", record.name),
        ("Context", attrs.get("context", "")),
        ("Dockerfile", attrs.get("filename", "Dockerfile")),
        ("VCS Repository", attrs.get("vcs:source", "")),
        ("VCS Revision", attrs.get("vcs:revision", "")),
        ("Target", attrs.get("target", "")),
        ("Platforms", ", ".join(record.platforms)),
    ]
    second = [
        ("Build ID", record.ref),
        ("Pod", f"{member.name} on node {member.node}" if member.node else member.name),
        ("Started", iso_time(record.created)),
        ("Duration", duration(record, now)),
        ("Status", record.outcome.value.capitalize()),
        ("Build Steps", steps),
        ("Warnings", str(record.warnings) if record.warnings else ""),
        ("Digest", record.response.get("containerimage.digest", "")),
    ]
    parts = [_facts(first), _facts(second)]
    for title, prefix in (("Build Arg", "build-arg:"), ("Label", "label:"), ("Named Context", "context:")):
        rows = [[clean_line(key.removeprefix(prefix)), clean_line(value)] for key, value in sorted(attrs.items()) if key.startswith(prefix)]
        parts += [table([title.upper(), "VALUE"], rows)] if rows else []
    exporters = [[clean_line(kind), clean_line(attrs.get("name", "") or attrs.get("dest", ""))] for kind, attrs in record.exporters]
    parts += [table(["EXPORTER", "NAME"], exporters)] if exporters else []
    statements = [[clean_line(_kind(item)), platform, item.digest] for platform, item in _statements(record)]
    parts += [table(["ATTACHMENT", "PLATFORM", "DIGEST"], statements)] if statements else []
    if record.error:
        parts.append(f"Error: {clean(record.error)}")
    return "\n\n".join(parts)


def _statements(record: HistoryRecord) -> list[tuple[str, Descriptor]]:
    return [(platform, item) for platform, items in record.statements.items() for item in items]


def _kind(statement: Descriptor) -> str:
    return statement.annotations.get("in-toto.io/predicate-type") or statement.media_type


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"{name + ':':<16}{clean_line(value)}" for name, value in facts if value)


def _cut(name: str) -> str:
    return name if len(name) <= _NAME_WIDTH else ".." + name[2 - _NAME_WIDTH :]
