"""Which builds `history` means, and what `ps` joins."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kubectl_build.builder.leases import Lease
from kubectl_build.buildkit.histories import HistoryRecord, Outcome, build_name, read_record
from kubectl_build.cli.history_text import duration, history_table
from kubectl_build.cli.options.builds import chosen, parse_build_filters
from kubectl_build.cli.running import PodBuilds, running_builds, running_document
from kubectl_build.daemons import Link
from kubectl_build.errors import UsageError
from kubectl_build.proto import control_pb2
from kubectl_build.survey import Member

NOW = 1_700_000_000.0


def record(ref: str, *, age: float = 100, took: float | None = 10, outcome: Outcome = Outcome.COMPLETED, **attrs: str) -> HistoryRecord:
    created = NOW - age
    completed = None if took is None else created + took
    return HistoryRecord(ref=ref, outcome=outcome, created=created, completed=completed, attrs=attrs)


def lease(platforms: str, holder: str, since: float) -> Lease:
    return Lease(
        name=holder,
        uid=holder,
        namespace="ns",
        builder="buildkit",
        pod="p",
        holder=holder,
        platforms=platforms,
        context="app",
        since=datetime.fromtimestamp(NOW - since, UTC),
        renewed="",
        seconds=60,
        written=None,
    )


@pytest.mark.parametrize(
    ("filter_", "found"),
    [
        ("status=error", ["failed"]),
        ("status!=error", ["quick", "old", "now"]),
        ("ref=ui", ["quick"]),
        ("duration>=30s", ["old", "now"]),
        ("startedAt>24h", ["quick", "failed", "now"]),
        ("startedAt<24h", ["old"]),
        ("completedAt>1h", ["quick", "failed"]),
        ("startedAt>2023-11-14T22:00:00Z", ["quick", "failed", "now"]),
        ("repository=example", ["old"]),
    ],
)
def test_history_filter_keeps_what_it_says(filter_: str, found: list[str]) -> None:
    records = [
        record("quick"),
        record("failed", outcome=Outcome.ERROR),
        record("old", age=200_000, took=60, context="https://git.example/app.git#main"),
        record("now", age=40, took=None, outcome=Outcome.RUNNING),
    ]
    wanted = parse_build_filters([filter_], NOW)
    assert [item.ref for item in records if wanted(item)] == found


@pytest.mark.parametrize("filter_", ["nonsense", "status>error", "duration=3s", "startedAt>soon", "duration>long", "color=red"])
def test_history_filter_that_cannot_be_understood_is_refused(filter_: str) -> None:
    with pytest.raises(UsageError, match=r"filter|time"):
        parse_build_filters([filter_], NOW)


@pytest.mark.parametrize(
    ("ref", "found"),
    [
        ("", "abc2"),
        ("^0", "abc2"),
        ("^1", "abc1"),
        ("^", "abc2"),
        ("xyz", "xyz9"),
        ("abc1", "abc1"),
        ("buildkit/pod/xyz9", "xyz9"),
        ("abc", "abc"),
    ],
)
def test_history_ref_is_found_by_beginning_or_place(ref: str, found: str) -> None:
    entries = [("pod", record(name)) for name in ("abc2", "abc1", "xyz9", *(["abc"] if found == "abc" else []))]
    assert chosen(ref, entries)[1].ref == found


@pytest.mark.parametrize(
    ("ref", "words"), [("ab", "2 builds"), ("zz", "no build"), ("^7", "remembers 2"), ("^x", "no place"), ("a/", "no build")]
)
def test_history_ref_that_means_nothing_or_much_is_refused(ref: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        chosen(ref, [("pod", record("abc2")), ("pod", record("abc1"))])


def test_history_ref_of_nothing_says_that_there_is_none() -> None:
    with pytest.raises(UsageError, match="remembers no build"):
        chosen("", [])


@pytest.mark.parametrize(
    ("attrs", "name"),
    [
        ({}, ""),
        ({"target": "test"}, "test"),
        ({"context": "https://git.example/a.git", "target": "test"}, "https://git.example/a.git (test)"),
        ({"filename": "Dockerfile.dev"}, "Dockerfile.dev"),
        ({"vcs:localdir:context": "services/web"}, "services/web"),
        ({"vcs:source": "https://git.example/a.git"}, "https://git.example/a.git"),
        ({"build-arg:BUILDKIT_BUILD_NAME": "mine", "target": "x"}, "mine"),
    ],
)
def test_history_name_of_a_build(attrs: dict[str, str], name: str) -> None:
    assert build_name(attrs) == name


@pytest.mark.parametrize(
    ("code", "message", "outcome"),
    [
        (None, "", Outcome.COMPLETED),
        (2, "exit code: 1", Outcome.ERROR),
        (1, "stopped", Outcome.CANCELED),
        (2, "context canceled", Outcome.CANCELED),
    ],
)
def test_history_record_of_a_daemon_has_an_outcome(code: int | None, message: str, outcome: Outcome) -> None:
    told = control_pb2.BuildHistoryRecord(Ref="r")
    told.CompletedAt.seconds = 5
    if code is not None:
        told.error.code, told.error.message = code, message
    assert read_record(told).outcome is outcome
    assert read_record(control_pb2.BuildHistoryRecord(Ref="r")).outcome is Outcome.RUNNING


def test_history_record_with_times_that_cannot_be_is_read() -> None:
    told = control_pb2.BuildHistoryRecord(Ref="r")
    told.CreatedAt.seconds = -(1 << 62)
    assert read_record(told).created == 0.0


def never() -> Link:
    raise AssertionError("a table asks no daemon")


def test_history_table_has_buildx_columns_and_no_escape_of_a_hostile_name() -> None:
    member = Member(name="buildkit-amd64-0", open=never)  # type: ignore[arg-type]
    text = history_table([(member, record("abc", target="\x1b[2Jx" * 20))], NOW, whole=False)
    assert text.splitlines()[0].split() == ["BUILD", "ID", "NAME", "STATUS", "CREATED", "AT", "DURATION", "POD"]
    assert "\x1b" not in text


def test_history_table_that_is_wide_has_node_platforms_and_steps() -> None:
    found = replace(record("r", platform="linux/amd64,linux/386"), total_steps=9, completed_steps=9, cached_steps=4)
    member = Member(name="pod-0", pool="amd64", node="node-1", open=never)  # type: ignore[arg-type]
    header, line = history_table([(member, found)], NOW, whole=False, wide=True).splitlines()
    assert header.split()[-3:] == ["NODE", "PLATFORMS", "STEPS"]
    assert line.endswith("pod-0   node-1   linux/amd64,linux/386   9/9 (4 cached)")


def test_history_duration_of_a_running_build_has_a_plus() -> None:
    assert duration(record("a", age=65, took=None), NOW) == "1m  5s+"
    assert duration(record("a", took=0.25), NOW) == "0.2s"


def pod(*, records: list[HistoryRecord] | None, leases: list[Lease]) -> PodBuilds:
    return PodBuilds(namespace="ns", builder="buildkit", pod="p", node="n", architecture="amd64", records=records, leases=leases)


def test_ps_joins_builds_with_leases_of_the_same_platforms_in_their_order() -> None:
    records = [
        record("second", age=10, took=None, platform="linux/amd64"),
        record("first", age=20, took=None, platform="linux/amd64"),
        record("other", age=15, took=None, platform="linux/386"),
        record("nobody", age=5, took=None, platform="linux/s390x"),
    ]
    leases = [
        lease("linux/amd64", "bob", 9),
        lease("linux/amd64", "amy", 19),
        lease("linux/386", "cat", 14),
        lease("linux/arm64", "dan", 1),
    ]
    found = running_builds(pod(records=records, leases=leases))
    assert [(build.ref, build.holder) for build in found] == [
        ("first", "amy"),
        ("other", "cat"),
        ("second", "bob"),
        ("nobody", ""),
        ("", "dan"),
    ]


def test_ps_build_that_names_no_platform_is_for_the_pods_own() -> None:
    (found,) = running_builds(pod(records=[record("a", took=None)], leases=[lease("linux/amd64", "amy", 1)]))
    assert (found.holder, found.platforms) == ("amy", "linux/amd64")


def test_ps_of_a_daemon_that_is_silent_tells_what_leases_know() -> None:
    (found,) = running_builds(pod(records=None, leases=[lease("linux/amd64", "amy", 1)]))
    document = running_document([found, replace(found, holder="")])
    assert [build["holder"] for build in document["builds"]] == ["amy", None]
    assert document["builds"][0]["ref"] is None
