"""du and prune: their filters, sizes and sums, and what they refuse."""

from __future__ import annotations

import io
import sys

import pytest

from kubectl_build.buildkit.usage import UsageFilter, UsageRecord, UsageTotals
from kubectl_build.cli.buildkit import app
from kubectl_build.cli.main import run_app
from kubectl_build.cli.options.filters import parse_filters, parse_space
from kubectl_build.cli.usage_text import human_duration, usage_details, usage_document, usage_table, usage_totals
from kubectl_build.errors import ConnectionLost, UsageError
from kubectl_build.progress.units import human_size
from kubectl_build.survey import Member, Reply

RECORDS = (
    UsageRecord(id="abc", size=1_234_567, mutable=True, in_use=True, last_used=1000.0, created=900.0, type="regular", usage_count=2),
    UsageRecord(id="def", size=500, shared=True, parents=("abc", "xyz"), description="pulled from docker.io/library/busybox"),
    UsageRecord(id="ghi", size=-1),
)


def _unopened() -> None:
    raise AssertionError("nothing is opened here")


def member(name: str) -> Member:
    return Member(name=name, pool="amd64", node="node-1", open=_unopened)  # type: ignore[arg-type]


def reply(name: str, records: tuple[UsageRecord, ...]) -> Reply[tuple[UsageRecord, ...]]:
    return Reply(member=member(name), answer=records)


@pytest.mark.parametrize(
    ("texts", "expression"),
    [
        ([], ""),
        (["type=regular"], "type==regular"),
        (["ID=abc"], "id~=abc"),
        (["id!=abc"], "id!=abc"),
        (["description~=^local"], "description~=^local"),
        (["description=a b,c"], 'description=="a b,c"'),
        (["inuse"], "inuse"),
        (["inuse=true", "shared=false"], "inuse,private"),
        (["mutable!=true"], "immutable"),
        (["private", "type=source.local", "parents~=q"], "private,type==source.local,parents~=q"),
    ],
)
def test_filters_in_buildx_spelling_become_the_daemons_grammar(texts: list[str], expression: str) -> None:
    assert parse_filters(texts) == UsageFilter(expression=expression)


@pytest.mark.parametrize(("text", "seconds"), [("until=24h", 86400), ("unused-for=1h30m", 5400), ("until=1.5s", 1.5)])
def test_filter_with_an_age_becomes_seconds(text: str, seconds: float) -> None:
    assert parse_filters([text]) == UsageFilter(unused_seconds=seconds)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["type"], "has no value"),
        (["colour=red"], "not known"),
        (["until=yesterday"], "yesterday"),
        (["until=1h", "unused-for=2h"], "only one value"),
        (["type=a", "type=b"], "only one value"),
        (["inuse=false"], "cannot be asked"),
        (["inuse=perhaps"], "true or false"),
        (["shared~=t"], "true or false"),
        (["id~=["], "not a regular expression"),
        (["description~=a(b"], "not a regular expression"),
    ],
)
def test_filters_that_cannot_be_meant_are_refused(texts: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_filters(texts)


@pytest.mark.parametrize(("text", "size"), [(None, 0), ("0", 0), ("512", 512), ("10gb", 10 << 30), ("1.5 GiB", 3 << 29), ("64k", 65536)])
def test_space_is_in_binary_units(text: str | None, size: int) -> None:
    assert parse_space("--max-used-space", text) == size


@pytest.mark.parametrize("text", ["", "lots", "-1", "10xb", "99999999p"])
def test_space_that_is_no_size_names_its_flag(text: str) -> None:
    with pytest.raises(UsageError, match="--min-free-space"):
        parse_space("--min-free-space", text)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0B"), (999, "999B"), (1000, "1kB"), (1_234_567, "1.235MB"), (45_678_901_234, "45.68GB"), (10**15, "1PB")]
)
def test_size_has_four_digits(size: int, text: str) -> None:
    assert human_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "Less than a second"),
        (1, "1 second"),
        (59.9, "59 seconds"),
        (60, "About a minute"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (47 * 3600, "47 hours"),
        (50 * 3600, "2 days"),
        (15 * 86400, "2 weeks"),
        (90 * 86400, "3 months"),
        (800 * 86400, "2 years"),
    ],
)
def test_duration_is_said_as_docker_says_it(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def test_totals_leave_out_sizes_that_are_not_known() -> None:
    assert UsageTotals.of(RECORDS) == UsageTotals(reclaimable=500, shared=500, private=1_234_567, total=1_235_067)
    assert usage_totals(UsageTotals.of(RECORDS)).splitlines() == [
        "Shared:       500B",
        "Private:      1.235MB",
        "Reclaimable:  500B",
        "Total:        1.235MB",
    ]
    assert usage_totals(UsageTotals.of(RECORDS[:1])).splitlines() == ["Reclaimable:  0B", "Total:        1.235MB"]


def test_table_marks_what_is_mutable_and_shared_and_names_the_pod() -> None:
    replies = [reply("b-amd64-0", RECORDS[:1]), reply("b-arm64-0", RECORDS[1:2])]
    assert [line.split() for line in usage_table(replies, 1060.0).splitlines()] == [
        ["ID", "RECLAIMABLE", "SIZE", "LAST", "ACCESSED", "POD"],
        ["abc*", "false", "1.235MB", "About", "a", "minute", "ago", "b-amd64-0"],
        ["def", "true", "500B*", "-", "b-arm64-0"],
    ]


def test_details_are_a_paragraph_for_each_entry() -> None:
    first, second = usage_details([reply("p", RECORDS[:2])], 1002.0).split("\n\n")
    assert "Last used:    2 seconds ago" in first
    assert "Parents:\n - abc\n - xyz\n" in second
    assert "Last used" not in second


def test_what_a_daemon_tells_moves_no_cursor() -> None:
    evil = UsageRecord(id="a\x1b[2Jb", size=1, description="x\x1b]0;t\x07\nID: forged")
    shown = usage_details([reply("p", (evil,))], 0.0) + usage_table([reply("p", (evil,))], 0.0)
    assert "\x1b" not in shown
    assert "\nID: forged" not in shown


@pytest.mark.parametrize("seconds", [1e18, -1e18, float(2**63)])
def test_time_that_no_calendar_has_is_left_empty(seconds: float) -> None:
    odd = reply("p", (UsageRecord(id="a", created=seconds, last_used=seconds),))
    assert usage_document("b", [odd])["pods"][0]["records"][0]["createdAt"] == ""
    assert "a" in usage_details([odd], 0.0) + usage_table([odd], 0.0)


def test_document_has_the_daemons_that_did_not_answer() -> None:
    silent: Reply[tuple[UsageRecord, ...]] = Reply(member=member("b"), error=ConnectionLost("gone"))
    replies = [reply("a", RECORDS[:1]), silent]
    document = usage_document("buildkit", replies)
    assert [pod.get("error") for pod in document["pods"]] == [None, "gone"]
    assert document["pods"][0]["records"][0] == {
        "id": "abc",
        "parents": [],
        "createdAt": "1970-01-01T00:15:00+00:00",
        "lastUsedAt": "1970-01-01T00:16:40+00:00",
        "mutable": True,
        "reclaimable": False,
        "shared": False,
        "size": 1_234_567,
        "usageCount": 2,
        "description": "",
        "type": "regular",
    }
    assert document["totals"]["total"] == 1_234_567


def test_prune_without_a_terminal_and_without_force_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert run_app(app, "kubectl buildkit", ["prune", "--builder=unix:///nowhere"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "--force" in said.err


@pytest.mark.parametrize(("argv", "word"), [(["prune", "-f", "--keep-storage=lots"], "--keep-storage"), (["du", "--filter=x=y"], "x=y")])
def test_malformed_values_are_told_before_anything_is_asked(argv: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, "kubectl buildkit", [*argv, "--builder=unix:///nowhere"]) == 2
    assert word in capsys.readouterr().err


def test_daemon_that_is_not_there_is_a_lost_connection_and_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, "kubectl buildkit", ["du", "--builder=unix:///nowhere"]) == 5
    assert capsys.readouterr().out == ""
