"""The k=v grammars of the command line."""

from __future__ import annotations

import pytest

from kubectl_build.cli.options import check_outputs, parse_build_args, parse_labels, parse_output, parse_tags, with_push
from kubectl_build.errors import UsageError
from kubectl_build.model.request import Output, OutputType


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-", Output(type=OutputType.TAR, dest="-")),
        ("out", Output(type=OutputType.LOCAL, dest="out")),
        ("type=local,dest=out", Output(type=OutputType.LOCAL, dest="out")),
        ("type=tar", Output(type=OutputType.TAR, dest="-")),
        ("type=oci,dest=x.tar", Output(type=OutputType.OCI, dest="x.tar")),
        ("type=registry", Output(type=OutputType.IMAGE, attrs={"push": "true"})),
        ("type=registry,registry.insecure=true", Output(type=OutputType.IMAGE, attrs={"push": "true", "registry.insecure": "true"})),
        ('type=image,"name=a,b",push=true', Output(type=OutputType.IMAGE, attrs={"name": "a,b", "push": "true"})),
        ("type=image,COMPRESSION=zstd", Output(type=OutputType.IMAGE, attrs={"compression": "zstd"})),
        ("type=cacheonly", None),
    ],
)
def test_output_of_each_form_is_understood_as_buildx_does(text: str, expected: Output | None) -> None:
    assert parse_output(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dest=out", "has no type"),
        ("type=zip", 'type "zip" is not known'),
        ("type=local", "needs dest=DIRECTORY"),
        ("type=local,dest=-", "needs dest=DIRECTORY"),
        ("type=image,out", "not of the form key=value"),
        ("type=registry,dest=x", "dest is for files"),
    ],
)
def test_output_malformed_is_a_usage_error_that_quotes_it(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_output(text)

    assert words in caught.value.message
    assert text in caught.value.message


def test_push_turns_image_outputs_into_pushes_and_adds_one_where_there_is_none() -> None:
    local = Output(type=OutputType.LOCAL, dest="out")

    assert with_push([Output(type=OutputType.IMAGE)]) == (Output(type=OutputType.IMAGE, attrs={"push": "true"}),)
    assert with_push([local]) == (local, Output(type=OutputType.IMAGE, attrs={"push": "true"}))


def test_push_without_any_name_is_a_usage_error() -> None:
    pushed = with_push([])

    with pytest.raises(UsageError, match="a tag is needed to push"):
        check_outputs(pushed, ())
    check_outputs(pushed, parse_tags(["reg.example/a:1"]))
    check_outputs([Output(type=OutputType.IMAGE, attrs={"push": "true", "name": "reg.example/a"})], ())


def test_two_outputs_to_stdout_are_refused() -> None:
    with pytest.raises(UsageError, match="2 outputs want to write to stdout"):
        check_outputs([Output(type=OutputType.TAR, dest="-"), Output(type=OutputType.OCI, dest="-")], ())


def test_build_arg_without_value_comes_from_the_environment_or_is_left_out() -> None:
    assert parse_build_args(["A=1", "B", "C", "D="], {"B": "2"}) == {"A": "1", "B": "2", "D": ""}


def test_label_without_value_is_empty() -> None:
    assert parse_labels(["a", "b=c=d"]) == {"a": "", "b": "c=d"}


def test_tags_repeated_are_one_and_digests_are_refused() -> None:
    assert [str(t) for t in parse_tags(["busybox", "docker.io/library/busybox:latest"])] == ["docker.io/library/busybox:latest"]
    with pytest.raises(UsageError, match="a build cannot choose its digest"):
        parse_tags(["busybox@sha256:" + "a" * 64])
