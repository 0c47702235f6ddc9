from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_build.model.events import Note, Placed, VertexGroup
from kubectl_build.progress.state import Interval, State, Step, StepLog, merge_intervals
from tests.unit.progress.builders import T0, log, status, vertex


def only(state: State) -> Step:
    (step,) = state.steps.values()
    return step


def test_state_same_digest_in_two_pools_is_two_steps() -> None:
    state = State()
    state.update(vertex("sha256:a", "RUN make", pool="amd64", started=0), T0)
    state.update(vertex("sha256:a", "RUN make", pool="arm64", started=0, completed=2), T0)

    assert [step.label for step in state.order] == ["[amd64] RUN make", "[arm64] RUN make"]
    assert [step.running for step in state.order] == [True, False]


def test_state_announcement_after_the_start_does_not_undo_it() -> None:
    state = State()
    state.update(vertex("a", "RUN make", started=1, completed=2, cached=True), T0)
    state.update(vertex("a", "RUN make"), T0)

    assert only(state).completed
    assert only(state).cached


def test_state_pause_between_runs_is_not_counted() -> None:
    state = State()
    state.update(vertex("a", started=0, completed=2), T0)
    state.update(vertex("a", started=5, completed=6), T0)

    assert state.seconds(only(state), T0 + 100) == 3.0


def test_state_clock_of_a_daemon_that_is_ahead_does_not_change_durations() -> None:
    state = State()
    state.update(vertex("a", started=600), T0)

    assert state.seconds(only(state), T0 + 4) == 4.0


def test_state_parts_of_unknown_vertices_are_left_out() -> None:
    state = State()
    state.update(status("b", "layer"), T0)
    state.update(log("b", b"text\n"), T0)

    assert state.steps == {}


def test_state_group_is_one_step_and_hidden_until_a_strong_member_starts() -> None:
    state = State()
    weak, strong = VertexGroup(id="g", name="COPY --link a b", weak=True), VertexGroup(id="g", name="COPY --link a b")
    state.update(vertex("copy", "copy", started=0, completed=1, group=weak), T0)
    assert state.order == []

    state.update(vertex("merge", "merge", started=1, completed=3, group=strong), T0)
    state.update(log("copy", b"text\n"), T0)

    assert [step.label for step in state.order] == ["COPY --link a b"]
    assert state.counts() == (1, 1)
    assert state.seconds(state.order[0], T0) == 3.0
    assert [line.text for line in state.order[0].log.lines] == ["text"]


def test_state_group_is_cached_only_when_all_members_are() -> None:
    state = State()
    group = VertexGroup(id="g", name="COPY")
    state.update(vertex("x", started=0, completed=0, cached=True, group=group), T0)
    assert only(state).cached

    state.update(vertex("y", started=0, completed=1, group=group), T0)
    assert not only(state).cached


def test_state_cancelled_step_is_no_failure() -> None:
    state = State()
    state.update(vertex("a", started=0, completed=1, error="process: context canceled"), T0)

    assert only(state).canceled
    assert not only(state).failed


def test_state_wait_of_a_pool_ends_with_its_status_and_not_with_another_pools() -> None:
    state = State()
    state.note(Note(text="waiting for arm64", level="wait", pool="arm64"))
    state.note(Note(text="waiting for amd64", level="wait", pool="amd64"))
    state.update(vertex("a", pool="amd64"), T0)

    assert state.waits == {"arm64": "waiting for arm64"}


def test_state_empty_wait_ends_it() -> None:
    state = State()
    state.note(Note(text="waiting", level="wait"))
    state.note(Note(text="", level="wait"))

    assert state.waits == {}


@pytest.mark.parametrize(
    ("pool", "name", "expected"),
    [
        ("", "[2/3] RUN make", "[2/3] RUN make"),
        ("arm64", "[2/3] RUN make", "[arm64 2/3] RUN make"),
        ("arm64", "[build 10/12] RUN make", "[arm64 build 10/12] RUN make"),
        ("amd64", "[linux/s390x 2/3] RUN make", "[amd64 linux/s390x 2/3] RUN make"),
        ("amd64", "[linux/amd64->arm/v7 build 2/3] RUN make", "[amd64 linux/amd64->arm/v7 build 2/3] RUN make"),
        ("amd64", "[linux/amd64->windows/amd64 2/3] RUN make", "[amd64 linux/amd64->windows/amd64 2/3] RUN make"),
        ("amd64", "[internal] load build context", "[amd64 internal] load build context"),
        ("amd64", "exporting to image", "[amd64] exporting to image"),
        ("amd64", "[2/3] RUN make", "[amd64 2/3] RUN make"),
    ],
)
def test_state_step_is_marked_with_its_pool_as_buildx_does(pool: str, name: str, expected: str) -> None:
    state = State()
    for platform, mode, where in [
        ("linux/arm64", "native", "arm64"),
        ("linux/s390x", "QEMU", "amd64"),
        ("linux/arm/v7", "cross", "amd64"),
        ("windows/amd64", "cross", "amd64"),
    ]:
        state.place(Placed(platform=platform, mode=mode, pool=where))
    state.update(vertex("a", name, pool=pool), T0)

    assert expected == only(state).label


@pytest.mark.parametrize(
    ("platform", "mode", "name", "emulated"),
    [
        ("linux/arm64", "QEMU", "[2/3] RUN make", True),
        ("linux/arm64", "QEMU", "[linux/arm64 2/3] RUN make", True),
        ("linux/arm64", "QEMU", "[linux/arm64 2/3] COPY a b", False),
        ("linux/arm64", "QEMU", "[linux/amd64->arm64 build 2/3] RUN make", False),
        ("linux/arm64", "QEMU", "[internal] load build context", False),
        ("linux/386", "native", "[linux/386 2/3] RUN make", False),
        ("linux/arm64", "cross", "[linux/amd64->arm64 build 2/3] RUN make", False),
    ],
)
def test_state_command_that_runs_under_qemu_is_known(platform: str, mode: str, name: str, emulated: bool) -> None:
    state = State()
    state.place(Placed(platform=platform, mode=mode, pool="amd64"))
    state.update(vertex("a", name), T0)

    assert only(state).emulated is emulated


def test_state_native_build_of_one_pool_is_not_marked() -> None:
    state = State()
    state.place(Placed(platform="linux/amd64", mode="native", pool="amd64"))
    state.update(vertex("a", "[2/3] RUN make"), T0)

    assert only(state).label == "[2/3] RUN make"


LOGS = st.lists(st.binary(max_size=12) | st.sampled_from([b"\n", b"a\n", b"part", b"\n\n"]), max_size=20)


@given(LOGS)
def test_log_cut_anywhere_has_the_lines_of_the_whole(chunks: list[bytes]) -> None:
    cut, whole = StepLog(None), StepLog(None)
    for chunk in chunks:
        cut.add(chunk, 0.0)
    whole.add(b"".join(chunks), 0.0)

    assert [line.text for line in whole.lines] == [line.text for line in cut.lines]
    assert whole.partial == cut.partial


@given(LOGS, st.integers(1, 4))
def test_log_with_a_limit_keeps_the_last_lines(chunks: list[bytes], limit: int) -> None:
    bounded, whole = StepLog(limit), StepLog(None)
    for chunk in chunks:
        bounded.add(chunk, 0.0)
        whole.add(chunk, 0.0)

    assert [line.text for line in whole.lines[-limit:]] == [line.text for line in bounded.lines]


@given(LOGS, st.lists(st.booleans(), max_size=20))
def test_log_taken_at_any_time_loses_no_line(chunks: list[bytes], takes: list[bool]) -> None:
    taken, whole = StepLog(None), StepLog(None)
    lines: list[str] = []
    for number, chunk in enumerate(chunks):
        taken.add(chunk, 0.0)
        whole.add(chunk, 0.0)
        if number < len(takes) and takes[number]:
            partial = taken.partial
            got = [line.text for line in taken.take()]
            lines += got[:-1] if partial else got

    assert [line.text for line in whole.lines] == lines + [line.text for line in taken.lines]


@given(st.lists(st.tuples(st.integers(0, 20), st.none() | st.integers(0, 5)), max_size=8))
def test_merged_intervals_cover_the_same_time_without_overlap(spans: list[tuple[int, int | None]]) -> None:
    intervals = [Interval(start, None if length is None else start + length) for start, length in spans]
    merged = merge_intervals(intervals)

    def covers(some: list[Interval], moment: float) -> bool:
        return any(one.start <= moment and (one.stop is None or moment <= one.stop) for one in some)

    assert all(covers(intervals, moment / 2) == covers(merged, moment / 2) for moment in range(60))
    assert all(one.stop is not None and one.stop < two.start for one, two in pairwise(merged))
