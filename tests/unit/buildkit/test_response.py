"""What exporters answer, decoded."""

from __future__ import annotations

import base64
import json

import pytest

from kubectl_build.buildkit.response import decode_response, encode_descriptor, parse_descriptor
from kubectl_build.errors import ProtocolError
from kubectl_build.model.platform import Platform

DESCRIPTOR = {
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "digest": "sha256:" + "a" * 64,
    "size": 1234,
    "platform": {"architecture": "arm", "os": "linux", "variant": "v7"},
}


def test_descriptor_of_a_single_image_has_its_platform() -> None:
    descriptor = parse_descriptor({"containerimage.descriptor": encode_descriptor(DESCRIPTOR)})

    assert descriptor.platform == Platform("linux", "arm", "v7")
    assert (descriptor.digest, descriptor.size, descriptor.is_index) == (DESCRIPTOR["digest"], 1234, False)


@pytest.mark.parametrize("value", ["", "!!!", base64.b64encode(b"[]").decode(), base64.b64encode(b"{}").decode()])
def test_descriptor_that_cannot_be_read_is_a_protocol_error(value: str) -> None:
    with pytest.raises(ProtocolError, match="descriptor"):
        parse_descriptor({"containerimage.descriptor": value})


def test_response_decodes_only_values_that_are_json_objects() -> None:
    number = base64.b64encode(b"17").decode()
    response = {"containerimage.descriptor": encode_descriptor(DESCRIPTOR), "image.name": "docker.io/library/abcd:latest", "n": number}

    assert decode_response(response) == {
        "containerimage.descriptor": DESCRIPTOR,
        "image.name": "docker.io/library/abcd:latest",
        "n": number,
    }
    assert json.loads(json.dumps(decode_response(response)))
