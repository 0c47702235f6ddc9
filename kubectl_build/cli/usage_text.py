"""What du and prune print, for people and as JSON (pure). The table and the long form are those of `docker buildx du`, with the pod."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from kubectl_build.buildkit.usage import UsageRecord, UsageTotals
from kubectl_build.cli.tables import table
from kubectl_build.model.json import JsonObject
from kubectl_build.progress.escape import clean_line
from kubectl_build.progress.units import human_size
from kubectl_build.survey import Reply

Replies = Sequence[Reply[tuple[UsageRecord, ...]]]


def usage_table(replies: Replies, now: float) -> str:
    """A line for each entry. A star marks a mutable entry's ID and a shared one's size."""
    rows = [
        [
            clean_line(record.id) + ("*" if record.mutable else ""),
            _truth(not record.in_use),
            human_size(record.size) + ("*" if record.shared else ""),
            _ago(record.last_used, now),
            member,
        ]
        for member, record in _entries(replies)
    ]
    return table(["ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED", "POD"], rows)


def usage_details(replies: Replies, now: float) -> str:
    """A paragraph for each entry."""
    return "\n\n".join("\n".join(_details(member, record, now)) for member, record in _entries(replies))


def usage_totals(totals: UsageTotals) -> str:
    """The sums; what is shared only where something is."""
    shared = [("Shared:", totals.shared), ("Private:", totals.private)] if totals.shared else []
    sums = [*shared, ("Reclaimable:", totals.reclaimable), ("Total:", totals.total)]
    return "\n".join(f"{name:<14}{human_size(size)}" for name, size in sums)


def usage_document(builder: str, replies: Replies) -> JsonObject:
    """All that is known, with what did not answer."""
    return {
        "builder": builder,
        "pods": [
            {
                "name": reply.member.name,
                "pool": reply.member.pool,
                "node": reply.member.node,
                **({"error": reply.error.message} if reply.error else {}),
                "totals": _totals(UsageTotals.of(reply.answer or ())),
                "records": [_record(record) for record in reply.answer or ()],
            }
            for reply in replies
        ],
        "totals": _totals(UsageTotals.of(record for _, record in _entries(replies))),
    }


def all_records(replies: Replies) -> tuple[UsageRecord, ...]:
    """The entries of all daemons that answered."""
    return tuple(record for _, record in _entries(replies))


def human_duration(seconds: float) -> str:
    """About how long: "3 hours" (docker/go-units HumanDuration)."""
    whole = int(seconds)
    if whole < 60:
        return "Less than a second" if whole < 1 else "1 second" if whole == 1 else f"{whole} seconds"
    minutes, hours = whole // 60, int(seconds / 3600 + 0.5)
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for unit, size, limit in (("days", 24, 24 * 14), ("weeks", 24 * 7, 24 * 60), ("months", 24 * 30, 24 * 730)):
        if hours < limit:
            return f"{hours // size} {unit}"
    return f"{int(seconds / 3600) // 24 // 365} years"


def _entries(replies: Replies) -> Iterable[tuple[str, UsageRecord]]:
    return ((reply.member.name, record) for reply in replies for record in reply.answer or ())


def _details(member: str, record: UsageRecord, now: float) -> list[str]:
    facts = [
        ("Mutable", _truth(record.mutable)),
        ("Reclaimable", _truth(not record.in_use)),
        ("Shared", _truth(record.shared)),
        ("Size", human_size(record.size)),
        ("Description", clean_line(record.description)),
        ("Usage count", str(record.usage_count)),
        ("Last used", _ago(record.last_used, now)),
        ("Type", clean_line(record.type)),
    ]
    parents = ["Parents:", *(f" - {clean_line(parent)}" for parent in record.parents)] if record.parents else []
    head = [f"{'ID:':<14}{clean_line(record.id)}", f"{'Pod:':<14}{member}", *parents, f"{'Created at:':<14}{_time(record.created)}"]
    return [*head, *(f"{name + ':':<14}{value}" for name, value in facts if value)]


def _record(record: UsageRecord) -> JsonObject:
    return {
        "id": record.id,
        "parents": list(record.parents),
        "createdAt": _time(record.created),
        "lastUsedAt": None if record.last_used is None else _time(record.last_used),
        "mutable": record.mutable,
        "reclaimable": not record.in_use,
        "shared": record.shared,
        "size": record.size,
        "usageCount": record.usage_count,
        "description": record.description,
        "type": record.type,
    }


def _totals(totals: UsageTotals) -> JsonObject:
    return {"reclaimable": totals.reclaimable, "shared": totals.shared, "private": totals.private, "total": totals.total}


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _ago(since: float | None, now: float) -> str:
    return "" if since is None else f"{human_duration(max(now - since, 0.0))} ago"


def _time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (OverflowError, ValueError, OSError):  # a daemon may say any number
        return ""
