"""What a build left behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from kubectl_build.model.json import JsonObject
from kubectl_build.model.platform import Platform
from kubectl_build.model.reference import Reference
from kubectl_build.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformPlace:
    """Where and how one platform was built: values for --metadata-file."""

    platform: Platform
    mode: str
    pool: str
    node: str
    pod: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """The end of a build that succeeded.

    `digest` is that of the image or index, "" when nothing with a digest was made; `image_id` the config digest of a single image, else the
    index's digest; `metadata` has buildx's keys, JSON values decoded; `pushed` are the names that now carry the digest.
    """

    digest: str = ""
    image_id: str = ""
    metadata: JsonObject = field(default_factory=dict)
    places: tuple[PlatformPlace, ...] = ()
    pushed: tuple[Reference, ...] = ()

    def metadata_document(self) -> Mapping[str, object]:
        """The content of --metadata-file."""
        places = {str(p.platform): {"mode": p.mode, "pool": p.pool, "node": p.node, "pod": p.pod} for p in self.places}
        return {**self.metadata, "kubectl-build.platforms": places}
