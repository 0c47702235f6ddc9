"""Annotations on their way to exporters."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubectl_build.buildkit.annotations import annotation_attrs
from kubectl_build.buildkit.attrs import build_job
from kubectl_build.model.inputs import Dockerfile, LocalContext
from kubectl_build.model.platform import Platform, parse_platforms
from kubectl_build.model.reference import parse_reference
from kubectl_build.model.request import Annotation, BuildRequest, Output, OutputType

ARM = Platform("linux", "arm64")


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (Annotation(kind="manifest", key="a.b", value="v"), "annotation.a.b"),
        (Annotation(kind="manifest", key="k", value="v", platform=ARM), "annotation-manifest[linux/arm64].k"),
        (Annotation(kind="manifest-descriptor", key="k", value="v"), "annotation-manifest-descriptor.k"),
        (
            Annotation(kind="manifest-descriptor", key="k", value="v", platform=Platform("linux", "arm", "v7")),
            "annotation-manifest-descriptor[linux/arm/v7].k",
        ),
        (Annotation(kind="index", key="k", value="v"), "annotation-index.k"),
        (Annotation(kind="index-descriptor", key="k", value="v", platform=ARM), "annotation-index-descriptor.k"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_annotation_has_the_name_that_the_daemon_reads(annotation: Annotation, name: str) -> None:
    assert annotation_attrs([annotation]) == {name: "v"}


def test_annotations_go_to_every_output_and_over_its_own() -> None:
    outputs = (Output(type=OutputType.OCI, attrs={"annotation.k": "own"}, dest="f"), Output(type=OutputType.LOCAL, dest="d"))
    request = BuildRequest(
        context=LocalContext(Path()),
        dockerfile=Dockerfile(),
        outputs=outputs,
        annotations=(Annotation(kind="manifest", key="k", value="v"),),
    )

    assert [exporter.attrs["annotation.k"] for exporter in build_job(request, ()).exporters] == ["v", "v"]


def test_annotations_of_a_platform_go_to_the_pool_that_builds_it() -> None:
    said = {"annotation[linux/arm64].own": "1", "annotation-manifest-descriptor[linux/amd64].other": "2", "annotation-index.all": "3"}
    request = BuildRequest(
        context=LocalContext(Path()),
        dockerfile=Dockerfile(),
        platforms=parse_platforms(["linux/amd64,linux/arm64"]),
        tags=(parse_reference("r.example/a"),),
        outputs=(Output(type=OutputType.IMAGE, attrs={"push": "true", **said}),),
        annotations=(
            Annotation(kind="manifest", key="k", value="v", platform=ARM),
            Annotation(kind="manifest", key="k", value="w", platform=Platform("linux", "s390x")),
        ),
    )

    names = [
        set(build_job(request, [platform], pool=platform.architecture, pools=("amd64", "arm64")).exporters[0].attrs)
        for platform in request.platforms
    ]

    # A platform that no pool builds is for the daemons to refuse.
    everywhere = {"push", "name", "push-by-digest", "annotation-index.all", "annotation-manifest[linux/s390x].k"}
    assert names[0] == everywhere | {"annotation-manifest-descriptor[linux/amd64].other"}
    assert names[1] == everywhere | {"annotation[linux/arm64].own", "annotation-manifest[linux/arm64].k"}
