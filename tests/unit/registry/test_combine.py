"""registry.combine: what is joined, kept and left out. That the bytes are buildx's is tests/integration/test_imagetools.py."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_build.errors import RegistryError, UsageError
from kubectl_build.model.digest import (
    MEDIA_TYPE_DOCKER_LIST,
    MEDIA_TYPE_DOCKER_MANIFEST,
    MEDIA_TYPE_INDEX,
    MEDIA_TYPE_MANIFEST,
    sha256_digest,
)
from kubectl_build.model.platform import parse_platform
from kubectl_build.model.reference import parse_reference
from kubectl_build.model.request import Annotation
from kubectl_build.registry.combine import (
    REFERENCE_DIGEST,
    REFERENCE_TYPE,
    Combined,
    Source,
    annotations_dropped,
    combine,
    select,
    unattested,
)

AMD64 = parse_platform("linux/amd64")
ARM64 = parse_platform("linux/arm64")


def entry(name: str, platform: str = "linux/amd64", **more: Any) -> dict[str, Any]:
    os, _, architecture = platform.partition("/")
    digest = sha256_digest(name.encode())
    return {"mediaType": MEDIA_TYPE_MANIFEST, "digest": digest, "size": 1, "platform": {"architecture": architecture, "os": os}, **more}


def attestation(of: dict[str, Any]) -> dict[str, Any]:
    annotations = {REFERENCE_TYPE: "attestation-manifest", REFERENCE_DIGEST: of["digest"]}
    return entry(f"attestation of {of['digest']}", "unknown/unknown", annotations=annotations)


def lone(descriptor: dict[str, Any]) -> Source:
    return Source(reference=parse_reference("reg/app"), descriptor=descriptor, data=b"{}")


def index(*entries: dict[str, Any], media_type: str = MEDIA_TYPE_INDEX) -> Source:
    data = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}).encode()
    descriptor = {"mediaType": media_type, "digest": sha256_digest(data), "size": len(data)}
    return Source(reference=parse_reference("reg/index"), descriptor=descriptor, data=data)


def digests(combined: Combined) -> list[str]:
    found = [manifest["digest"] for manifest in json.loads(combined.data)["manifests"]]
    assert found == [part.descriptor["digest"] for part in combined.parts]
    assert combined.descriptor["digest"] == sha256_digest(combined.data)
    assert combined.descriptor["size"] == len(combined.data)
    return found


def test_select_takes_the_attestation_of_an_image_with_it() -> None:
    a, b = entry("a"), entry("b", "linux/arm64")
    combined = combine([index(a, b, attestation(a), attestation(b))], (), prefer_index=True)

    assert digests(select(combined, [ARM64], {})) == [b["digest"], attestation(b)["digest"]]
    assert select(combined, [ARM64, AMD64], {}) is combined
    assert select(combined, (), {}) is combined


def test_select_of_no_image_says_which_there_are() -> None:
    a = entry("a")
    for sources in ([index(a, attestation(a))], [lone(a)]):
        with pytest.raises(UsageError, match=r"linux/amd64|linux/arm64") as caught:
            select(combine(sources, (), prefer_index=False), [ARM64], {})
        assert "linux/amd64" in f"{caught.value.message} {caught.value.hint}"


def test_unattested_images_get_what_the_registry_knows_of_them() -> None:
    a, b = entry("a"), entry("b", "linux/arm64")
    combined = combine([index(a, b, attestation(a))], (), prefer_index=True)
    assert [part.descriptor["digest"] for part in unattested(combined, ())] == [b["digest"]]
    assert unattested(combined, [AMD64]) == []
    known = {"mediaType": MEDIA_TYPE_MANIFEST, "digest": sha256_digest(b"known"), "size": 7, "artifactType": "x"}

    added = json.loads(select(combined, (), {b["digest"]: known}).data)["manifests"][-1]

    assert added["digest"] == known["digest"]
    assert added["annotations"] == {REFERENCE_TYPE: "attestation-manifest", REFERENCE_DIGEST: b["digest"]}
    assert added["platform"] == {"architecture": "unknown", "os": "unknown"}
    assert "artifactType" not in added


def test_combine_of_a_lone_image_without_an_index_copies_it() -> None:
    a = entry("a")

    combined = combine([lone(a)], (), prefer_index=False)

    assert combined.data == b"{}"
    assert not combined.is_index
    assert unattested(combined, ()) == []
    assert select(combined, [AMD64], {}) is combined


def test_combine_of_docker_images_is_a_list_that_drops_annotations() -> None:
    a = entry("a", mediaType=MEDIA_TYPE_DOCKER_MANIFEST)
    annotations = [Annotation(kind="index", key="k", value="v")]

    combined = combine([lone(a)], annotations, prefer_index=True)

    assert combined.descriptor["mediaType"] == MEDIA_TYPE_DOCKER_LIST
    assert annotations_dropped(combined, annotations)
    assert b'"k"' not in combined.data
    assert not annotations_dropped(combine([lone(entry("a"))], annotations, prefer_index=True), annotations)


@pytest.mark.parametrize("kind", ["manifest", "index-descriptor"])
def test_combine_refuses_annotations_that_it_cannot_write(kind: str) -> None:
    with pytest.raises(UsageError, match=f'of the kind "{kind}"'):
        combine([lone(entry("a"))], [Annotation(kind=kind, key="k", value="v")], prefer_index=True)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"manifests": [{}]}', b'{"manifests": [{"digest": 1}]}', b'{"manifests": 1}'])
def test_combine_of_a_malformed_index_is_an_error(data: bytes) -> None:
    broken = Source(reference=parse_reference("reg/index"), descriptor={"mediaType": MEDIA_TYPE_INDEX, "digest": "d", "size": 1}, data=data)
    with pytest.raises(RegistryError, match="reg/index:latest is malformed"):
        combine([broken, lone(entry("a"))], (), prefer_index=True)


@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=4), min_size=2, max_size=4))
def test_combine_has_every_manifest_once_in_the_order_it_comes(groups: list[list[str]]) -> None:
    sources = [index(*(entry(name) for name in group)) for group in groups]

    combined = combine(sources, (), prefer_index=True)

    assert digests(combined) == list(dict.fromkeys(entry(name)["digest"] for group in groups for name in group))
