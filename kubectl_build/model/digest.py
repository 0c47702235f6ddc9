"""Digests and descriptors of the OCI image specification."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import field

from kubectl_build.model.platform import Platform
from kubectl_build.values import dataclass

MEDIA_TYPE_INDEX = "application/vnd.oci.image.index.v1+json"
MEDIA_TYPE_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
MEDIA_TYPE_DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
MEDIA_TYPE_DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

INDEX_TYPES = (MEDIA_TYPE_INDEX, MEDIA_TYPE_DOCKER_LIST)
IMAGE_TYPES = (MEDIA_TYPE_MANIFEST, MEDIA_TYPE_DOCKER_MANIFEST)
"""The types of a manifest with a config and layers."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}|sha384:[0-9a-f]{96}")


def is_digest(text: str) -> bool:
    """Tell whether `text` is a digest of an algorithm that the image specification registers."""
    return _DIGEST.fullmatch(text) is not None


def sha256_digest(data: bytes) -> str:
    """Return "sha256:" and the hexadecimal hash of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What points at a blob or manifest (image-spec descriptor.md). `size` is in bytes."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_index(self) -> bool:
        """Whether this is an OCI index or a Docker manifest list."""
        return self.media_type in INDEX_TYPES
