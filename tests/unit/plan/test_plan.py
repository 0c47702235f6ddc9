"""Which platform goes where: the planner against tables of needs, pools and policies."""

from __future__ import annotations

import pytest

from kubectl_build.errors import UsageError
from kubectl_build.model.needs import Needs
from kubectl_build.model.platform import Platform, parse_platform
from kubectl_build.model.request import Emulation
from kubectl_build.plan import Candidates, Mode, default_platform, is_single, make_plan, planning_pool, provisional_plan

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


def test_plan_emulation_always_keeps_one_pool_and_cross_stays_cross() -> None:
    found = modes({AMD64: runs(AMD64), ARM64: runs(ARM64), PPC: runs(AMD64)}, "amd64", MIXED, Emulation.ALWAYS)

    assert found == {"linux/amd64": "native amd64", "linux/arm64": "QEMU amd64", "linux/ppc64le": "cross amd64"}


def test_plan_emulation_never_without_a_node_names_platform_and_command() -> None:
    with pytest.raises(UsageError, match=r"platform linux/ppc64le cannot be built without emulation.*make linux/ppc64le"):
        modes({PPC: runs(PPC)}, "amd64", MIXED, Emulation.NEVER)


def test_plan_run_for_windows_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match="a RUN for windows/amd64 cannot be executed"):
        modes({WINDOWS: runs(WINDOWS)}, "amd64", MIXED)


def test_plan_steps_on_both_architectures_go_to_the_pool_that_the_target_needs() -> None:
    assert modes({AMD64: runs(AMD64), ARM64: runs(AMD64, ARM64)}, "amd64", MIXED)["linux/arm64"] == "native arm64"


def test_planning_pool_prefers_most_native_platforms_then_existing_then_amd64() -> None:
    assert planning_pool((ARM64, AMD64), MIXED) == "amd64"
    assert planning_pool((ARM64, AMD64), Candidates(existing=("arm64",), nodes={"amd64": 3, "arm64": 1})) == "arm64"
    assert planning_pool((AMD64, I386, ARM64), Candidates(existing=("arm64",), nodes={"amd64": 3})) == "amd64"


def test_planning_pool_without_nodes_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no node can run a builder for linux/arm64"):
        planning_pool((ARM64,), Candidates(nodes={}))


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
