"""What a daemon is told of a request."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubectl_build.buildkit.attrs import exporters, frontend_attrs
from kubectl_build.errors import UsageError
from kubectl_build.model.inputs import Dockerfile, LocalContext
from kubectl_build.model.reference import parse_reference
from kubectl_build.model.request import BuildRequest, Output, OutputType


def push(**attrs: str) -> Output:
    return Output(type=OutputType.IMAGE, attrs={"push": "true", **attrs})


def test_frontend_attrs_that_are_not_utf8_are_refused_by_name() -> None:
    request = BuildRequest(context=LocalContext(Path()), dockerfile=Dockerfile(), build_args={"X": "\udcff"})

    with pytest.raises(UsageError, match="build-arg:X is not UTF-8"):
        frontend_attrs(request, ())


def test_push_by_digest_names_repositories_without_tags() -> None:
    request = BuildRequest(
        context=LocalContext(Path()),
        dockerfile=Dockerfile(),
        tags=(parse_reference("r.example/a"),),
        outputs=(push(**{"push-by-digest": "true"}),),
    )

    assert exporters(request)[0].attrs["name"] == "r.example/a"
    assert [str(name) for name in request.names] == ["r.example/a"]


def test_insecure_output_speaks_for_its_own_registries_only() -> None:
    request = BuildRequest(
        context=LocalContext(Path()),
        dockerfile=Dockerfile(),
        outputs=(push(name="a.example/x", **{"registry.insecure": "True"}), push(name="b.example/x")),
    )

    assert request.pushes_insecurely("a.example")
    assert not request.pushes_insecurely("b.example")
    assert exporters(request, by_digest=True)[0].attrs["name"] == "a.example/x,b.example/x"
