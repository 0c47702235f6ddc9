"""What a frontend's result says about the commands it will run."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_build.buildkit.llb import result_needs
from kubectl_build.errors import ProtocolError
from kubectl_build.model.platform import Platform, runs_on
from kubectl_build.model.request import Emulation
from kubectl_build.plan import Candidates, Mode, doubts, make_plan
from kubectl_build.proto import gateway_pb2, pb_pb2

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")


def definition(*ops: pb_pb2.Op) -> pb_pb2.Definition:
    last = pb_pb2.Op(inputs=[pb_pb2.Input(digest="sha256:0")])
    result = pb_pb2.Definition()
    getattr(result, "def").extend(op.SerializeToString() for op in (*ops, last))
    return result


def exec_op(platform: Platform | None, command: str = "make") -> pb_pb2.Op:
    op = pb_pb2.Op(exec=pb_pb2.ExecOp(meta=pb_pb2.Meta(args=["/bin/sh", "-c", command])))
    if platform:
        op.platform.OS, op.platform.Architecture, op.platform.Variant = platform.os, platform.architecture, platform.variant
    return op


def ref(*ops: pb_pb2.Op) -> gateway_pb2.Ref:
    result = gateway_pb2.Ref(id="r")
    getattr(result, "def").CopyFrom(definition(*ops))
    return result


def by_platform(**refs: gateway_pb2.Ref) -> gateway_pb2.Result:
    platforms = {"amd64": AMD64, "arm64": ARM64}
    entries = [{"ID": f"linux/{name}", "Platform": {"os": "linux", "architecture": platforms[name].architecture}} for name in refs]
    return gateway_pb2.Result(
        refs=gateway_pb2.RefMap(refs={f"linux/{name}": value for name, value in refs.items()}),
        metadata={"refs.platforms": json.dumps({"Platforms": entries}).encode()},
    )


def test_needs_of_each_platform_are_its_exec_ops() -> None:
    result = by_platform(amd64=ref(exec_op(AMD64)), arm64=ref(exec_op(AMD64), pb_pb2.Op(file=pb_pb2.FileOp())))

    needs = result_needs(result, (AMD64, ARM64), AMD64)

    assert {p: set(n.execs) for p, n in needs.items()} == {AMD64: {AMD64}, ARM64: {AMD64}}
    assert needs[AMD64].execs[AMD64] == "/bin/sh -c make"


def test_needs_of_an_op_without_platform_are_the_daemons_own() -> None:
    assert set(result_needs(gateway_pb2.Result(ref=ref(exec_op(None))), (ARM64,), AMD64)[ARM64].execs) == {AMD64}


def test_needs_of_a_result_without_definition_are_none() -> None:
    assert result_needs(gateway_pb2.Result(ref=gateway_pb2.Ref(id="scratch")), (ARM64,), AMD64)[ARM64].execs == {}


def test_needs_of_an_unknown_op_are_the_target_platform() -> None:
    future = pb_pb2.Op.FromString(b"\xfa\x01\x00")

    needs = result_needs(gateway_pb2.Result(ref=ref(future, exec_op(AMD64))), (ARM64,), AMD64)[ARM64]

    assert needs.unknown
    assert set(needs.execs) == {AMD64, ARM64}


def test_needs_count_the_refs_of_attestations() -> None:
    result = by_platform(arm64=ref())
    result.attestations["linux/arm64"].attestation.append(gateway_pb2.Attestation(ref=ref(exec_op(AMD64, "scan"))))

    assert set(result_needs(result, (ARM64,), AMD64)[ARM64].execs) == {AMD64}


def test_needs_of_a_platform_that_is_missing_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError, match="no result for linux/arm64"):
        result_needs(by_platform(amd64=ref()), (AMD64, ARM64), AMD64)


def test_needs_of_windows_with_the_version_of_its_base_are_those_of_the_platform_asked_for() -> None:
    platform = {"os": "windows", "architecture": "amd64", "os.version": "10.0.17763.1"}
    entries = [{"ID": "windows/amd64", "Platform": platform}]
    result = gateway_pb2.Result(
        refs=gateway_pb2.RefMap(refs={"windows/amd64": ref(exec_op(AMD64))}),
        metadata={"refs.platforms": json.dumps({"Platforms": entries}).encode()},
    )

    assert set(result_needs(result, (Platform("windows", "amd64"),), AMD64)) == {Platform("windows", "amd64")}


def test_result_returned_to_the_daemon_keeps_fields_that_we_do_not_declare() -> None:
    unknown_field = b"\xa2\x06\x03abc"  # field 100, three bytes
    raw = gateway_pb2.Result(ref=ref(exec_op(AMD64))).SerializeToString() + unknown_field

    assert unknown_field in gateway_pb2.Result.FromString(raw).SerializeToString()


def test_needs_of_one_result_for_two_platforms_are_refused() -> None:
    with pytest.raises(ProtocolError, match="one result for 2 platforms"):
        result_needs(gateway_pb2.Result(ref=ref()), (AMD64, ARM64), AMD64)


STEPS = st.lists(st.sampled_from((None, AMD64, ARM64, Platform("linux", "386"), Platform("linux", "arm", "v7"), "file")), max_size=5)


@given(STEPS, STEPS, STEPS, st.sampled_from(("amd64", "arm64")), st.sets(st.sampled_from(("amd64", "arm64", "s390x"))))
def test_every_command_of_a_result_runs_on_the_planned_pool_or_is_emulated(
    amd64: list[Platform | str | None],
    arm64: list[Platform | str | None],
    scanner: list[Platform | str | None],
    asked: str,
    nodes: set[str],
) -> None:
    own = Platform("linux", asked)
    candidates = Candidates(existing=(asked,), nodes=dict.fromkeys(nodes, 1))
    result = by_platform(amd64=ref(*map(step, amd64)), arm64=ref(*map(step, arm64)))
    result.attestations["linux/arm64"].attestation.append(gateway_pb2.Attestation(ref=ref(*map(step, scanner))))

    needs = result_needs(result, (AMD64, ARM64), own)
    unsure = {p for platforms in doubts((AMD64, ARM64), needs, asked, candidates, Emulation.AUTO).values() for p in platforms}
    plan = make_plan((AMD64, ARM64), needs, asked, candidates, Emulation.AUTO)

    ran = {AMD64: amd64, ARM64: [*arm64, *scanner]}
    for assignment in plan.assignments:
        # A step without a platform runs on what the daemon asked is; where that may differ on another pool, that pool has to be asked.
        commands = {own if command is None else command for command in ran[assignment.platform] if command != "file"}
        native = all(runs_on(p, assignment.pool) for p in commands if isinstance(p, Platform))
        assert native == (assignment.mode is not Mode.QEMU)
        assert assignment.pool == asked or assignment.platform not in unsure


def step(kind: Platform | str | None) -> pb_pb2.Op:
    return pb_pb2.Op(file=pb_pb2.FileOp()) if isinstance(kind, str) else exec_op(kind)
