"""Which platform goes where: the planner against tables of needs, pools and policies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_build.errors import UsageError
from kubectl_build.model.needs import Needs
from kubectl_build.model.platform import Platform, parse_platform
from kubectl_build.model.request import Emulation
from kubectl_build.plan import (
    Candidates,
    Mode,
    default_platform,
    doubts,
    foreign_execs,
    is_single,
    make_plan,
    planning_pool,
    provisional_plan,
)

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")
I386 = Platform("linux", "386")
ARMV7 = Platform("linux", "arm", "v7")
PPC = Platform("linux", "ppc64le")
WINDOWS = Platform("windows", "amd64")
MIXED = Candidates(nodes={"amd64": 3, "arm64": 1})


def runs(*platforms: Platform) -> Needs:
    return Needs(execs={p: f"/bin/sh -c make {p}" for p in platforms})


def modes(plan_needs: dict[Platform, Needs], asked: str, candidates: Candidates, emulation: Emulation = Emulation.AUTO) -> dict[str, str]:
    plan = make_plan(tuple(plan_needs), plan_needs, asked, candidates, emulation)
    return {str(a.platform): f"{a.mode} {a.pool}" for a in plan.assignments}


def test_plan_all_steps_on_build_platform_is_cross_on_one_pool_even_with_other_nodes() -> None:
    found = modes({AMD64: runs(AMD64), ARM64: runs(AMD64), WINDOWS: runs(AMD64)}, "amd64", MIXED)

    assert found == {"linux/amd64": "native amd64", "linux/arm64": "cross amd64", "windows/amd64": "cross amd64"}


def test_plan_steps_on_target_platforms_are_native_on_their_nodes() -> None:
    assert modes({AMD64: runs(AMD64), ARM64: runs(ARM64)}, "amd64", MIXED) == {
        "linux/amd64": "native amd64",
        "linux/arm64": "native arm64",
    }


def test_plan_386_runs_on_amd64_without_emulation() -> None:
    assert modes({I386: runs(I386)}, "amd64", MIXED) == {"linux/386": "native amd64"}


def test_plan_arm32_is_emulated_unless_the_pool_was_made_for_it() -> None:
    needs = {ARM64: runs(ARM64), ARMV7: runs(ARMV7)}

    assert modes(needs, "arm64", MIXED)["linux/arm/v7"] == "QEMU arm64"
    assert modes(needs, "arm64", Candidates(existing=("arm64",), fixed=True, arm32=True))["linux/arm/v7"] == "native arm64"


def test_plan_fixed_pools_emulate_what_a_node_could_run() -> None:
    fixed = Candidates(existing=("amd64",), nodes={"amd64": 1, "arm64": 1}, fixed=True)

    assert modes({AMD64: runs(AMD64), ARM64: runs(ARM64)}, "amd64", fixed)["linux/arm64"] == "QEMU amd64"


def test_plan_pool_that_a_fixed_builder_lacks_is_no_matter_of_nodes() -> None:
    fixed = Candidates(existing=("amd64",), nodes={"amd64": 1, "arm64": 1}, fixed=True)

    plan = make_plan((ARM64,), {ARM64: runs(ARM64)}, "amd64", fixed, Emulation.AUTO)

    assert plan.assignments[0].why == "steps run on linux/arm64, no pool of this builder does"
    with pytest.raises(UsageError, match="cannot be built without emulation") as caught:
        make_plan((ARM64,), {ARM64: runs(ARM64)}, "amd64", fixed, Emulation.NEVER)
    assert "kubectl buildkit create NAME --platform" in str(caught.value.hint)
    assert provisional_plan((ARM64,), fixed, Emulation.AUTO).assignments[0].why == "no pool of arm64; cross if nothing runs on it"


def test_plan_emulation_always_keeps_one_pool_and_cross_stays_cross() -> None:
    found = modes({AMD64: runs(AMD64), ARM64: runs(ARM64), PPC: runs(AMD64)}, "amd64", MIXED, Emulation.ALWAYS)

    assert found == {"linux/amd64": "native amd64", "linux/arm64": "QEMU amd64", "linux/ppc64le": "cross amd64"}


def test_plan_emulation_never_without_a_node_names_platform_and_command() -> None:
    with pytest.raises(UsageError, match=r"platform linux/ppc64le cannot be built without emulation.*make linux/ppc64le"):
        modes({PPC: runs(PPC)}, "amd64", MIXED, Emulation.NEVER)


def test_plan_run_for_windows_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match="a RUN for windows/amd64 cannot be executed"):
        modes({WINDOWS: runs(WINDOWS)}, "amd64", MIXED)


BOTH_RUN = {AMD64: runs(AMD64), ARM64: runs(AMD64, ARM64)}
"""What the amd64 pool says of a stage of BUILDPLATFORM with a RUN, and a RUN of the target; and of a stage of --platform=linux/amd64."""


def test_plan_steps_on_both_architectures_are_in_doubt_for_the_pool_that_the_target_needs() -> None:
    assert doubts((AMD64, ARM64), BOTH_RUN, "amd64", MIXED, Emulation.AUTO) == {"arm64": (ARM64,)}
    assert doubts((AMD64, ARM64), BOTH_RUN, "amd64", MIXED, Emulation.ALWAYS) == {}
    assert doubts((AMD64, ARM64), BOTH_RUN, "amd64", Candidates(nodes={"amd64": 1}), Emulation.AUTO) == {}
    assert doubts((AMD64, ARM64), {AMD64: runs(AMD64), ARM64: runs(ARM64)}, "amd64", MIXED, Emulation.AUTO) == {}


def test_plan_steps_of_build_and_target_platform_are_native_on_the_targets_pool() -> None:
    plan = make_plan((AMD64, ARM64), BOTH_RUN, "amd64", MIXED, Emulation.AUTO, elsewhere={"arm64": {ARM64: runs(ARM64)}})

    assert [(a.mode, a.pool) for a in plan.assignments] == [(Mode.NATIVE, "amd64"), (Mode.NATIVE, "arm64")]


def test_plan_steps_of_two_literal_platforms_are_emulated_where_they_were_planned() -> None:
    plan = make_plan((AMD64, ARM64), BOTH_RUN, "amd64", MIXED, Emulation.AUTO, elsewhere={"arm64": {ARM64: BOTH_RUN[ARM64]}})

    assert [(a.mode, a.pool) for a in plan.assignments] == [(Mode.NATIVE, "amd64"), (Mode.QEMU, "amd64")]
    assert plan.assignments[1].why == "steps run on linux/amd64 and linux/arm64, no node runs all of these"


def test_plan_steps_of_two_literal_platforms_without_emulation_name_the_command_that_is_foreign() -> None:
    with pytest.raises(UsageError, match=r"linux/amd64 and linux/arm64, and no node runs all of these \(/bin/sh -c make linux/arm64\)"):
        make_plan((ARM64,), BOTH_RUN, "amd64", MIXED, Emulation.NEVER, elsewhere={"arm64": {ARM64: BOTH_RUN[ARM64]}})


ARCHES = ("amd64", "arm64", "s390x")
POOLS = st.lists(st.sampled_from(ARCHES), min_size=1, unique=True).map(tuple)
TARGETS = st.lists(st.sampled_from((AMD64, I386, ARM64, ARMV7, PPC, WINDOWS)), min_size=1, unique=True).map(tuple)


@st.composite
def dockerfiles(draw: st.DrawFn) -> tuple[tuple[Platform, ...], dict[Platform, tuple[Platform | None, ...]]]:
    """Platforms with what each one's commands are for: a platform that is named, or None for BUILDPLATFORM."""
    targets = draw(TARGETS)
    step = st.sampled_from((None, AMD64, I386, ARM64, ARMV7, PPC))
    return targets, {target: draw(st.lists(step, max_size=3).map(tuple)) for target in targets}


def on(pool: str, steps: tuple[Platform | None, ...]) -> Needs:
    """What a daemon of `pool` answers."""
    return runs(*(step or Platform("linux", pool) for step in steps))


@given(dockerfiles(), POOLS, st.booleans(), st.sampled_from((Emulation.AUTO, Emulation.ALWAYS)))
def test_plan_of_any_build_emulates_what_it_says_and_only_where_no_pool_runs_all(
    built: tuple[tuple[Platform, ...], dict[Platform, tuple[Platform | None, ...]]],
    pools: tuple[str, ...],
    arm32: bool,
    emulation: Emulation,
) -> None:
    targets, steps = built
    candidates = Candidates(existing=pools, fixed=True, arm32=arm32)
    asked = planning_pool(targets, candidates)
    needs = {target: on(asked, steps[target]) for target in targets}
    questions = doubts(targets, needs, asked, candidates, emulation)
    elsewhere = {pool: {target: on(pool, steps[target]) for target in asking} for pool, asking in questions.items()}

    plan = make_plan(targets, needs, asked, candidates, emulation, elsewhere=elsewhere)

    def native(target: Platform, pool: str) -> bool:
        return not foreign_execs(on(pool, steps[target]), pool, candidates)

    for assignment in plan.assignments:
        assert assignment.pool in (pools if emulation is Emulation.AUTO else (asked,))
        assert native(assignment.platform, assignment.pool) == (assignment.mode is not Mode.QEMU)
        if assignment.mode is Mode.QEMU and emulation is Emulation.AUTO:
            assert not any(native(assignment.platform, pool) for pool in pools if pool != asked)


def test_planning_pool_prefers_most_native_platforms_then_existing_then_amd64() -> None:
    assert planning_pool((ARM64, AMD64), MIXED) == "amd64"
    assert planning_pool((ARM64, AMD64), Candidates(existing=("arm64",), nodes={"amd64": 3, "arm64": 1})) == "arm64"
    assert planning_pool((AMD64, I386, ARM64), Candidates(existing=("arm64",), nodes={"amd64": 3})) == "amd64"


def test_planning_pool_without_nodes_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no node can run a builder for linux/arm64"):
        planning_pool((ARM64,), Candidates(nodes={}))


def test_default_platform_without_a_node_that_has_the_labels_of_the_builder_names_them() -> None:
    with pytest.raises(UsageError, match="none with the builder's labels disk=fast is Ready") as caught:
        default_platform(Candidates(nodes={}, labels="disk=fast"))
    assert caught.value.hint == "see: kubectl get nodes -l disk=fast"


@pytest.mark.parametrize(
    ("platforms", "candidates", "emulation", "single"),
    [
        ((AMD64, I386, WINDOWS), MIXED, Emulation.AUTO, True),
        ((AMD64, ARM64), MIXED, Emulation.AUTO, False),
        ((AMD64, ARM64), MIXED, Emulation.ALWAYS, True),
        ((AMD64, ARM64), Candidates(nodes={"amd64": 2}), Emulation.AUTO, True),
        ((ARM64,), MIXED, Emulation.AUTO, True),
    ],
)
def test_is_single_tells_whether_a_planning_solve_can_be_spared(
    platforms: tuple[Platform, ...], candidates: Candidates, emulation: Emulation, single: bool
) -> None:
    assert is_single(platforms, candidates, emulation) is single


def test_default_platform_is_first_existing_pool_else_most_common_node() -> None:
    assert default_platform(Candidates(existing=("arm64",), nodes={"amd64": 9})) == ARM64
    assert default_platform(Candidates(nodes={"amd64": 1, "arm64": 4})) == ARM64


def test_provisional_plan_without_builder_says_it_is_not_certain() -> None:
    plan = provisional_plan((AMD64, ARM64, PPC), MIXED, Emulation.AUTO)

    assert not plan.certain
    assert [(str(a.platform), a.mode, a.pool) for a in plan.assignments] == [
        ("linux/amd64", Mode.NATIVE, "amd64"),
        ("linux/arm64", Mode.NATIVE, "arm64"),
        ("linux/ppc64le", Mode.QEMU, "amd64"),
    ]


def test_plan_table_has_a_line_for_each_platform() -> None:
    plan = make_plan((AMD64, parse_platform("linux/arm/v7")), {AMD64: runs(AMD64), ARMV7: runs(AMD64)}, "amd64", MIXED, Emulation.AUTO)

    assert plan.table().splitlines() == [
        "PLATFORM      MODE    POOL   WHY",
        "linux/amd64   native  amd64  amd64 runs it",
        "linux/arm/v7  cross   amd64  every step runs on amd64",
    ]
