"""The critical path: what the end waited for, and that for what that waited."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubectl_build.progress.state import Interval
from kubectl_build.report.critical import critical_path
from kubectl_build.report.facts import StepFacts
from tests.unit.report.builds import whole_build


def step(name: str, start: float, stop: float | None, *inputs: str, pool: str = "") -> StepFacts:
    return StepFacts(key=(pool, name), name=name, pool=pool, runs=(Interval(start, stop),), inputs=tuple((pool, i) for i in inputs))


def names(*steps: StepFacts) -> str:
    return " ".join(name for _, name in critical_path(steps))


def test_critical_path_of_a_build_goes_through_the_slow_branch() -> None:
    path = [key[1] for key in whole_build().facts().critical]
    assert path == ["def", "context", "copy", "emulated", "export"]


def test_critical_path_takes_the_input_that_ended_last() -> None:
    assert names(step("a", 0, 1), step("b", 0, 3), step("c", 3, 4, "a", "b")) == "b c"


def test_critical_path_step_without_inputs_follows_what_ended_before_it() -> None:
    assert names(step("load", 0, 1), step("from", 1, 2), step("export", 2, 3)) == "load from export"


def test_critical_path_of_several_pools_is_that_of_the_last_one() -> None:
    assert names(step("a", 0, 9, pool="amd64"), step("b", 0, 10, pool="arm64")) == "b"


def test_critical_path_goes_to_another_pool_where_its_own_did_nothing() -> None:
    planning = step("plan", 0, 1)
    slow, quick = step("slow", 1, 9, pool="amd64"), step("quick", 1, 2, pool="arm64")
    assert names(planning, slow, quick, step("index", 9, 10)) == "plan slow index"


def test_critical_path_leaves_out_what_never_ended() -> None:
    assert names(step("a", 0, 1), step("b", 1, None, "a")) == "a"


def test_critical_path_base_image_that_is_unpacked_late_does_not_hide_what_ran_meanwhile() -> None:
    base = StepFacts(key=("", "base"), name="base", pool="", runs=(Interval(0, 0.1), Interval(30, 30.5)))
    slow = step("slow", 0.1, 30, "base")
    assert names(base, slow, step("copy", 30.5, 31, "base", "slow")) == "base slow copy"


def test_critical_path_of_nothing_is_nothing() -> None:
    assert critical_path([]) == ()


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100), st.lists(st.integers(0, 20), max_size=3)), max_size=20))
def test_critical_path_of_any_times_ends_and_goes_forward(parts: list[tuple[float, float, list[int]]]) -> None:
    steps = [step(str(n), start, start + more, *map(str, inputs)) for n, (start, more, inputs) in enumerate(parts)]
    path = critical_path(steps)
    starts = {one.key: one.start for one in steps}
    assert len(set(path)) == len(path)
    assert [starts[key] for key in path] == sorted(starts[key] for key in path)
    assert bool(path) == bool(steps)
