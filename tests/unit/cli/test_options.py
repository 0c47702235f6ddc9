"""The grammars of the command line's values."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_build.cli.options.annotations import parse_annotations
from kubectl_build.cli.options.arguments import add_environment, parse_build_args, parse_labels, parse_tags
from kubectl_build.cli.options.attests import parse_attests
from kubectl_build.cli.options.calls import parse_call, parse_policy
from kubectl_build.cli.options.fields import parse_fields, parse_size, write_fields
from kubectl_build.cli.options.limits import parse_add_hosts, parse_entitlements, parse_resources, parse_ulimits
from kubectl_build.cli.options.outputs import check_outputs, parse_output, with_push
from kubectl_build.errors import UsageError
from kubectl_build.model.gobool import parse_bool
from kubectl_build.model.platform import Platform
from kubectl_build.model.request import Annotation, Call, Output, OutputType

PUSHED = {"push": "true", "unpack": "false"}


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), min_size=1))
def test_fields_that_a_csv_writer_wrote_are_read_back(fields: list[str]) -> None:
    line = io.StringIO()
    csv.writer(line, lineterminator="", quoting=csv.QUOTE_MINIMAL).writerow(fields)

    assert parse_fields("--flag", line.getvalue()) == fields


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.text(alphabet='x,"= ')), min_size=1))
def test_pairs_that_are_written_are_read_back(pairs: list[tuple[str, str]]) -> None:
    assert parse_fields("--flag", write_fields(pairs)) == [f"{key}={value}" for key, value in pairs]


def test_fields_with_a_quote_inside_are_refused_as_by_go() -> None:
    with pytest.raises(UsageError, match=r"--flag .* is not valid CSV"):
        parse_fields("--flag", 'type=local,dest="x"')


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("32", 32),
        ("32b", 32),
        ("1k", 1024),
        ("1.5KiB", 1536),
        ("64m", 64 << 20),
        ("64MB", 64 << 20),
        ("2 g", 2 << 30),
        ("1t", 1 << 40),
        ("1p", 1 << 50),
        (".5k", 512),
        ("1x", None),
        ("1kb2", None),
        ("1bb", None),
        ("-1", None),
        ("", None),
        ("m", None),
    ],
)
def test_size_is_read_with_binary_units(text: str, size: int | None) -> None:
    assert parse_size(text) == size


def test_boolean_is_what_go_takes_and_nothing_else() -> None:
    assert [parse_bool(text) for text in ("1", "t", "TRUE", "0", "F", "false", "yes", "tRUE", "")] == [
        True, True, True, False, False, False, None, None, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-", Output(type=OutputType.TAR, dest="-")),
        ("out", Output(type=OutputType.LOCAL, dest="out")),
        ("dest=out", Output(type=OutputType.LOCAL, dest="dest=out")),
        ("type=local,dest=out", Output(type=OutputType.LOCAL, dest="out")),
        ("type=tar", Output(type=OutputType.TAR, dest="-")),
        ("type=oci,dest=x.tar", Output(type=OutputType.OCI, dest="x.tar")),
        ("type=oci,dest=x,tar=false", Output(type=OutputType.OCI, dest="x", attrs={"tar": "false"})),
        ("type=docker,dest=-", Output(type=OutputType.DOCKER, dest="-")),
        ("type=registry", Output(type=OutputType.IMAGE, attrs=PUSHED)),
        ("type=registry,push=false,unpack=true", Output(type=OutputType.IMAGE, attrs={"push": "true", "unpack": "true"})),
        ("type=registry,registry.insecure=true", Output(type=OutputType.IMAGE, attrs={**PUSHED, "registry.insecure": "true"})),
        ('type=image,"name=a,b",push=true', Output(type=OutputType.IMAGE, attrs={"name": "a,b", "push": "true"})),
        ("type=image,COMPRESSION=zstd", Output(type=OutputType.IMAGE, attrs={"compression": "zstd"})),
        ("type=cacheonly", Output(type=OutputType.CACHEONLY)),
    ],
)
def test_output_of_each_form_is_understood_as_buildx_does(text: str, expected: Output) -> None:
    assert parse_output(text) == expected


def test_push_turns_image_outputs_into_pushes_and_adds_one_where_there_is_none() -> None:
    local = Output(type=OutputType.LOCAL, dest="out")

    assert with_push([Output(type=OutputType.IMAGE)]) == (Output(type=OutputType.IMAGE, attrs=PUSHED),)
    assert with_push([local]) == (local, Output(type=OutputType.IMAGE, attrs=PUSHED))


def test_push_without_any_name_is_a_usage_error() -> None:
    pushed = with_push([])

    with pytest.raises(UsageError, match="tag is needed when pushing to registry"):
        check_outputs(pushed, ())
    check_outputs(pushed, parse_tags(["reg.example/a:1"]))
    check_outputs([Output(type=OutputType.IMAGE, attrs={"push": "true", "name": "reg.example/a"})], ())


def test_build_arg_without_value_comes_from_the_environment_or_is_left_out() -> None:
    assert parse_build_args(["A=1", "B", "C", "D="], {"B": "2"}) == {"A": "1", "B": "2", "D": ""}


def test_environment_adds_the_epoch_and_proxies_that_are_not_given() -> None:
    proxies = {"HTTP_PROXY": "http://a", "NO_PROXY": "b"}

    assert add_environment({"http_proxy": "x"}, {"SOURCE_DATE_EPOCH": "0"}, proxies) == {
        "http_proxy": "x",
        "NO_PROXY": "b",
        "SOURCE_DATE_EPOCH": "0",
    }
    assert add_environment({"SOURCE_DATE_EPOCH": "1"}, {"SOURCE_DATE_EPOCH": "0"}, {}) == {"SOURCE_DATE_EPOCH": "1"}


def test_label_without_value_is_empty() -> None:
    assert parse_labels(["a", "b=c=d"]) == {"a": "", "b": "c=d"}


def test_tags_repeated_are_one() -> None:
    assert [str(t) for t in parse_tags(["busybox", "docker.io/library/busybox:latest"])] == ["docker.io/library/busybox:latest"]


def test_annotation_has_a_kind_and_a_platform_for_each_that_is_named() -> None:
    assert parse_annotations(["a=1", "index,manifest-descriptor[linux/arm64]:b=c=d", "a=2"]) == (
        Annotation(kind="manifest", key="a", value="2"),
        Annotation(kind="index", key="b", value="c=d"),
        Annotation(kind="manifest-descriptor", key="b", value="c=d", platform=Platform("linux", "arm64")),
    )


@pytest.mark.parametrize(
    ("attest", "provenance", "sbom", "expected"),
    [
        ([], "", "", {}),
        ([], "true", "1", {"provenance": "type=provenance", "sbom": "type=sbom"}),
        ([], "false", "", {}),
        ([], "mode=max", "generator=a/b", {"provenance": "type=provenance,mode=max", "sbom": "type=sbom,generator=a/b"}),
        (["type=provenance,version=v1,mode=min"], "", "", {"provenance": "type=provenance,mode=min,version=v1"}),
        (["type=provenance,mode=min"], "mode=max", "", {"provenance": "type=provenance,mode=min"}),
        (["type=sbom,disabled=true"], "", "true", {}),
        (['type=sbom,"generator=a,b"'], "", "", {"sbom": 'type=sbom,"generator=a,b"'}),
    ],
)
def test_attestations_are_those_asked_for_and_the_first_of_a_type_counts(
    attest: list[str], provenance: str, sbom: str, expected: dict[str, str]
) -> None:
    assert parse_attests(attest, provenance, sbom) == expected


@pytest.mark.parametrize(
    ("text", "check", "expected"),
    [
        ("", False, None),
        ("build", False, None),
        ("build", True, Call(method="check")),
        ("", True, Call(method="check")),
        ("lint", False, Call(method="check")),
        ("check,format=json", True, Call(method="check", as_json=True)),
        ("outline,format=json,ignorestatus=true", False, Call(method="outline", as_json=True, ignore_status=True)),
        ("subrequests.describe", False, Call(method="subrequests.describe")),
    ],
)
def test_call_of_each_form_is_understood(text: str, check: bool, expected: Call | None) -> None:
    assert parse_call(text, check=check) == expected


def test_policy_may_only_be_switched_off() -> None:
    assert parse_policy([]) is False
    assert parse_policy(["disabled=true"]) is True
    assert parse_policy(["reset=true", "log-level=debug"]) is False
    with pytest.raises(UsageError, match="policies are not evaluated here"):
        parse_policy(["disabled=true", "filename=x"])


def test_host_of_each_form_is_name_and_address() -> None:
    assert parse_add_hosts(["a:10.0.0.1,b=::1", "c=[fe80::1]", "d:::1", '"e=10.0.0.1,10.0.0.2"']) == (
        "a=10.0.0.1", "b=::1", "c=fe80::1", "d=::1", "e=10.0.0.1", "e=10.0.0.2",
    )  # fmt: skip


def test_entitlement_for_deleting_stays_with_the_client() -> None:
    assert parse_entitlements(["network.host", "buildx.local.delete", "device=vendor.com/gpu=0,alias=gpu", "device", ""]) == (
        ("network.host", "device=vendor.com/gpu=0,alias=gpu", "device"),
        True,
    )


def test_ulimits_are_sorted_and_the_last_of_a_name_counts() -> None:
    assert parse_ulimits(["nofile=1:2", "cpu=5", "nofile=3:-1"]) == ("cpu=5:5", "nofile=3:-1")


def test_resources_are_attributes_and_zero_is_none() -> None:
    texts = ["memory=1g", "memory-swap=-1", "cpu-shares=0", "cpu-quota=5", "cpuset-cpus=0-3", "memory = 2g"]

    assert parse_resources(texts) == {"memory": str(2 << 30), "memswap": "-1", "cpuquota": "5", "cpusetcpus": "0-3"}
