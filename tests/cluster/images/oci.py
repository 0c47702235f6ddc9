"""Images in an OCI image layout: a directory with `oci-layout`, `index.json` and `blobs/sha256/`.

Every recipe of this package fills one layout; `storage.py` turns layouts into what a registry serves, and `archive` into a tar that
`ctr images import` takes. Facts: the OCI image specification 1.1.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.images.layers import Layer, Tree

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_NAME = "org.opencontainers.image.ref.name"
_CREATED = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image's config and its entry in the index say; `text` is the usual `os/arch[/variant]`."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        os, architecture, *variant = text.split("/")
        return cls(os, architecture, *variant)

    @property
    def text(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def fields(self) -> dict[str, str]:
        named = {"architecture": self.architecture, "os": self.os, "os.version": self.os_version, "variant": self.variant}
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One platform's image. `config` has the keys of the OCI config's own `config` object: Env, Cmd, Entrypoint, ..."""

    platform: Platform
    layers: Sequence[Layer]
    config: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layout:
    """An image layout being made in an empty directory, or one that is complete."""

    directory: Path

    @property
    def blobs(self) -> Path:
        return self.directory / "blobs" / "sha256"

    @classmethod
    def create(cls, directory: Path) -> Layout:
        layout = cls(directory)
        layout.blobs.mkdir(parents=True)
        (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        layout._write_index([])
        return layout

    def layer(self, tree: Tree) -> Layer:
        return tree.write(self.blobs)

    def add(self, repository: str, tags: Iterable[str], images: Iterable[Image]) -> None:
        """Add an index of `images` under every `repository:tag`; the repository is written with its registry (`docker.io/library/x`)."""
        entries = [self._manifest(image) for image in images]
        descriptor = self._json(INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
        named = [{**descriptor, "annotations": {_NAME: f"{repository}:{tag}"}} for tag in tags]
        self._write_index([*self._read_index(), *named])

    def names(self) -> list[tuple[str, str, str]]:
        """(repository, tag, digest of the index) for every name in the layout."""
        found = []
        for entry in self._read_index():
            repository, _, tag = str(entry["annotations"][_NAME]).rpartition(":")
            found.append((repository, tag, str(entry["digest"])))
        return found

    def read(self, digest: str) -> dict[str, Any]:
        """A manifest, index or config by its digest."""
        content: dict[str, Any] = json.loads((self.blobs / digest.removeprefix("sha256:")).read_bytes())
        return content

    def archive(self, target: Path, *, platform: Platform) -> None:
        """Write a tar for `ctr images import`, with the image of one platform under each name: a node wants no others."""
        wanted, entries = set(), []
        for repository, tag, digest in self.names():
            for manifest in self.read(digest)["manifests"]:
                if manifest["platform"] == platform.fields():
                    content = self.read(manifest["digest"])
                    wanted |= {manifest["digest"], content["config"]["digest"], *(layer["digest"] for layer in content["layers"])}
                    # containerd takes the whole reference from its own annotation; ref.name may hold no more than the tag.
                    entries.append({**manifest, "annotations": {"io.containerd.image.name": f"{repository}:{tag}", _NAME: tag}})
        tree = Tree()
        tree.file("/oci-layout", self.directory / "oci-layout")
        tree.file("/index.json", json.dumps({"schemaVersion": 2, "manifests": entries}))
        for digest in sorted(wanted):
            tree.file(f"/blobs/sha256/{digest.removeprefix('sha256:')}", self.blobs / digest.removeprefix("sha256:"))
        with tarfile.open(target, mode="w") as archive:
            tree.pack(archive)

    def _manifest(self, image: Image) -> dict[str, Any]:
        config = {
            "created": _CREATED,
            **image.platform.fields(),
            "config": dict(image.config),
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in image.layers]},
            "history": [{"created": _CREATED, "created_by": "tests/cluster/images"} for _ in image.layers],
        }
        layers = [{"mediaType": _LAYER, "digest": layer.digest, "size": layer.size} for layer in image.layers]
        content = {"schemaVersion": 2, "mediaType": MANIFEST, "config": self._json(_CONFIG, config), "layers": layers}
        return {**self._json(MANIFEST, content), "platform": image.platform.fields()}

    def _json(self, media_type: str, content: Mapping[str, object]) -> dict[str, Any]:
        data = json.dumps(content, separators=(",", ":")).encode()
        digest = hashlib.sha256(data).hexdigest()
        (self.blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def _read_index(self) -> list[dict[str, Any]]:
        manifests: list[dict[str, Any]] = json.loads((self.directory / "index.json").read_text())["manifests"]
        return manifests

    def _write_index(self, manifests: Sequence[Mapping[str, object]]) -> None:
        content = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
        (self.directory / "index.json").write_text(json.dumps(content))
