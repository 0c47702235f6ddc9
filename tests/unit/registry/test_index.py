"""registry.index: order, grouping and bytes; Go itself is the judge of the bytes."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubectl_build.errors import ProtocolError
from kubectl_build.model.digest import (
    MEDIA_TYPE_DOCKER_LIST,
    MEDIA_TYPE_DOCKER_MANIFEST,
    MEDIA_TYPE_INDEX,
    MEDIA_TYPE_MANIFEST,
    Descriptor,
    sha256_digest,
)
from kubectl_build.model.gojson import marshal_indent
from kubectl_build.model.json import JsonObject
from kubectl_build.model.platform import Platform, parse_platform
from kubectl_build.registry.index import Child, merge_index
from tests.oracles.build import ask

pytestmark = pytest.mark.timeout(320)  # the first run compiles the oracle

AMD64, ARM64, ARMV7 = Platform("linux", "amd64"), Platform("linux", "arm64"), Platform("linux", "arm", "v7")
WINDOWS = Platform("windows", "amd64")


def manifest(platform: Platform, *, media_type: str = MEDIA_TYPE_MANIFEST, **more: Any) -> JsonObject:
    raw = {"os": platform.os, "architecture": platform.architecture}
    if platform.variant:
        raw["variant"] = platform.variant
    if platform.os_version:
        raw["os.version"] = platform.os_version
    return {"mediaType": media_type, "digest": sha256_digest(str(platform).encode()), "size": 480, "platform": raw, **more}


def attestation(platform: Platform) -> JsonObject:
    return {
        "mediaType": MEDIA_TYPE_MANIFEST,
        "digest": sha256_digest(f"attestation of {platform}".encode()),
        "size": 839,
        "annotations": {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": sha256_digest(str(platform).encode()),
        },
        "platform": {"architecture": "unknown", "os": "unknown"},
    }


def single(raw: JsonObject) -> Child:
    return Child(descriptor=Descriptor(media_type=raw["mediaType"], digest=raw["digest"], size=raw["size"]), raw_descriptor=raw)


def index(*manifests: JsonObject, media_type: str = MEDIA_TYPE_INDEX, **more: Any) -> Child:
    data = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": list(manifests), **more}).encode()
    descriptor = Descriptor(media_type=media_type, digest=sha256_digest(data), size=len(data))
    return Child(
        descriptor=descriptor, raw_descriptor={"mediaType": media_type, "digest": descriptor.digest, "size": len(data)}, index=data
    )


def merged(platforms: list[Platform], *children: Child) -> JsonObject:
    document = merge_index(platforms, children)
    assert document.digest == sha256_digest(document.data)
    value: JsonObject = json.loads(document.data)
    assert value["mediaType"] == document.media_type
    return value


def go_bytes(value: JsonObject) -> bytes:
    (answer,) = ask("index", [value])
    return base64.b64decode(answer)


def test_merge_index_puts_images_in_requested_order_and_attestations_last() -> None:
    amd = index(manifest(AMD64), manifest(ARMV7), attestation(AMD64), attestation(ARMV7))
    arm = index(manifest(ARM64), attestation(ARM64))

    value = merged([ARM64, AMD64, ARMV7], amd, arm)

    order = [ARM64, AMD64, ARMV7]
    expected = [manifest(p) for p in order] + [attestation(p) for p in order]
    assert value == {"schemaVersion": 2, "mediaType": MEDIA_TYPE_INDEX, "manifests": expected}


def test_merge_index_takes_single_manifests_beside_indexes() -> None:
    value = merged([AMD64, ARM64], single(manifest(ARM64)), index(manifest(AMD64)))

    assert [entry["platform"]["architecture"] for entry in value["manifests"]] == ["amd64", "arm64"]


def test_merge_index_writes_gos_bytes() -> None:
    platforms = [WINDOWS, AMD64]
    child = index(
        manifest(Platform("windows", "amd64", "", "10.0.20348.1"), annotations={"z": "<a> & b", "a": '\u2028é\x7f\x01"\\/'}),
        manifest(AMD64, urls=["https://x/?a=1&b"], data="e30=", artifactType="text/x", annotations={}),
        attestation(AMD64),
        annotations={"b": "2", "a": "1"},
    )

    document = merge_index(platforms, [child])

    assert document.data == go_bytes(json.loads(document.data))
    assert b"\\u003ca\\u003e \\u0026 b" in document.data
    assert not document.data.endswith(b"\n")
    assert json.loads(document.data)["annotations"] == {"a": "1", "b": "2"}


_TEXT = st.text(max_size=12)
_ENTRIES = st.fixed_dictionaries(
    {"mediaType": _TEXT, "digest": _TEXT, "size": st.integers(0, 2**62)},
    optional={
        "annotations": st.dictionaries(_TEXT, _TEXT, max_size=4),
        "urls": st.lists(_TEXT, max_size=2),
        "artifactType": _TEXT,
        "data": st.binary(max_size=6).map(lambda data: base64.b64encode(data).decode()),
    },
)


@settings(max_examples=15, deadline=None)
@given(st.lists(_ENTRIES, min_size=1, max_size=6))
def test_merge_index_of_generated_manifests_writes_gos_bytes(entries: list[JsonObject]) -> None:
    platforms = [Platform("linux", f"arch{number}") for number, _ in enumerate(entries)]
    raw = [{**entry, "platform": {"os": p.os, "architecture": p.architecture}} for entry, p in zip(entries, platforms, strict=True)]

    document = merge_index(platforms, [index(*raw)])

    value = {"schemaVersion": 2, "mediaType": document.media_type, "manifests": raw}
    assert document.data == go_bytes(value)


def test_merge_index_of_docker_types_alone_is_a_docker_list() -> None:
    old = manifest(AMD64, media_type=MEDIA_TYPE_DOCKER_MANIFEST)
    other = index(manifest(ARM64, media_type=MEDIA_TYPE_DOCKER_MANIFEST), media_type=MEDIA_TYPE_DOCKER_LIST)

    assert merged([AMD64, ARM64], single(old), other)["mediaType"] == MEDIA_TYPE_DOCKER_LIST
    assert merged([AMD64, ARM64], single(old), single(manifest(ARM64)))["mediaType"] == MEDIA_TYPE_INDEX


def test_merge_index_for_windows_accepts_the_version_of_the_base_image() -> None:
    versioned = Platform("windows", "amd64", "", "10.0.20348.1")

    assert merged([WINDOWS], single(manifest(versioned)))["manifests"][0]["platform"]["os.version"] == "10.0.20348.1"
    with pytest.raises(ProtocolError, match=r"made no image for windows\(10\.0\.1\)/amd64"):
        merge_index([parse_platform("windows(10.0.1)/amd64")], [single(manifest(versioned))])


def test_merge_index_of_platforms_that_share_a_manifest_gives_each_its_attestation() -> None:
    first, second = manifest(AMD64), {**manifest(ARM64), "digest": manifest(AMD64)["digest"]}
    one, two = attestation(AMD64), {**attestation(AMD64), "digest": sha256_digest(b"two")}

    value = merged([ARM64, AMD64], index(first, second, one, two))

    assert [entry["digest"] for entry in value["manifests"][2:]] == [two["digest"], one["digest"]]


def test_merge_index_keeps_a_field_that_it_does_not_know_last() -> None:
    document = merge_index([AMD64], [single({"newField": 1, **manifest(AMD64)})])

    assert list(json.loads(document.data)["manifests"][0])[-1] == "newField"


@pytest.mark.parametrize(
    ("platforms", "children", "message"),
    [
        ([AMD64, ARM64], [single(manifest(AMD64))], "the builder made no image for linux/arm64"),
        ([AMD64], [single(manifest(AMD64)), single(manifest(AMD64))], "the builder made more than one image for linux/amd64"),
        ([AMD64], [index(manifest(AMD64), manifest(ARM64))], "the builder made an image for linux/arm64, which was not requested"),
        ([AMD64], [index(manifest(AMD64), attestation(ARM64))], "which is no image of the same build"),
        ([AMD64], [single({"mediaType": MEDIA_TYPE_MANIFEST, "digest": "d", "size": 1})], "manifest d does not say its platform"),
        ([AMD64], [Child(descriptor=index().descriptor, raw_descriptor={}, index=b"other")], "is not the one that it announced"),
        ([AMD64], [Child(descriptor=index().descriptor, raw_descriptor={})], "is not the one that it announced"),
    ],
)
def test_merge_index_of_other_children_than_asked_for_is_refused(platforms: list[Platform], children: list[Child], message: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        merge_index(platforms, children)

    assert message in caught.value.message


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"manifests": {}}', b'{"manifests": [1]}', b'{"manifests": [], "annotations": [1]}'])
def test_merge_index_of_a_malformed_index_is_refused(data: bytes) -> None:
    descriptor = Descriptor(media_type=MEDIA_TYPE_INDEX, digest=sha256_digest(data), size=len(data))

    with pytest.raises(ProtocolError, match="is malformed"):
        merge_index([AMD64], [Child(descriptor=descriptor, raw_descriptor={}, index=data)])


def test_marshal_indent_replaces_half_characters() -> None:
    assert marshal_indent({"a": "\ud800"}) == '{\n  "a": "\ufffd"\n}'.encode()
