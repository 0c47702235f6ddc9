"""A docker-registry storage directory, written directly: no upload, no running registry, one hard link for each blob.

Facts: the path layout in `registry/storage/paths.go` of distribution 2.8. A repository has a link file for each layer and config it may
serve, one for each manifest (children of an index too), and for each tag its current index.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.cluster.images.oci import Layout


def publish(layout: Layout, storage: Path) -> None:
    """Add all names of a layout to a storage directory on the same file system; what is there already stays."""
    root = storage / "docker" / "registry" / "v2"
    for blob in layout.blobs.iterdir():
        data = root / "blobs" / "sha256" / blob.name[:2] / blob.name / "data"
        data.parent.mkdir(parents=True, exist_ok=True)
        if not data.exists():  # two layouts share base layers
            os.link(blob, data)
    for repository, tag, digest in layout.names():
        folder = root / "repositories" / repository
        _link(folder / "_manifests" / "tags" / tag / "current", digest)
        _link(folder / "_manifests" / "tags" / tag / "index" / _path(digest), digest)
        _link(folder / "_manifests" / "revisions" / _path(digest), digest)
        for child in layout.read(digest)["manifests"]:
            _link(folder / "_manifests" / "revisions" / _path(child["digest"]), child["digest"])
            manifest = layout.read(child["digest"])
            for part in (manifest["config"], *manifest["layers"]):
                _link(folder / "_layers" / _path(part["digest"]), part["digest"])


def _path(digest: str) -> str:
    return digest.replace(":", "/")


def _link(folder: Path, digest: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "link").write_text(digest)
