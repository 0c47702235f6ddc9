"""An independent reader of registries: plain HTTP and JSON, nothing of the product."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import ssl
import tarfile
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest or index as the registry sent it; digest is computed here."""

    data: bytes
    media_type: str

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.data).hexdigest()

    @property
    def json(self) -> Any:
        return json.loads(self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One platform's image: its manifest's digest, its config and the files of its layers, later layers over earlier ones."""

    digest: str
    config: dict[str, Any]
    files: dict[str, bytes] = field(repr=False)
    modes: dict[str, int] = field(repr=False)

    @property
    def platform(self) -> str:
        """os/architecture/variant as the config says."""
        return platform_name(self.config)


def platform_name(value: dict[str, Any]) -> str:
    """os/architecture or os/architecture/variant of a config or of a descriptor's platform."""
    return "/".join(value[key] for key in ("os", "architecture", "variant") if value.get(key))


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """A registry to read from."""

    url: str
    user: str = ""
    password: str = ""
    ca: Path | None = None

    def _get(self, path: str, accept: str = "*/*") -> tuple[bytes, str]:
        request = urllib.request.Request(f"{self.url}/v2/{path}", headers={"Accept": accept})
        if self.user:
            login = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            request.add_header("Authorization", f"Basic {login}")
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if self.ca:
            handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(self.ca))))
        with urllib.request.build_opener(*handlers).open(request, timeout=10) as answer:
            return answer.read(), answer.headers.get_content_type()

    def manifest(self, repository: str, reference: str) -> Manifest:
        """Get a manifest or index by tag or digest."""
        data, media_type = self._get(f"{repository}/manifests/{reference}", _ACCEPT)
        manifest = Manifest(data=data, media_type=media_type)
        if reference.startswith("sha256:"):
            assert manifest.digest == reference
        return manifest

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository, sorted; none when there is no such repository."""
        try:
            data, _ = self._get(f"{repository}/tags/list")
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 404:
                raise
            return []
        return sorted(json.loads(data)["tags"] or [])

    def blob(self, repository: str, digest: str) -> bytes:
        """Get a blob whose bytes are those its digest promises."""
        data, _ = self._get(f"{repository}/blobs/{digest}")
        assert "sha256:" + hashlib.sha256(data).hexdigest() == digest
        return data

    def image(self, repository: str, reference: str) -> Image:
        """Read one image with all its layers."""
        manifest = self.manifest(repository, reference)
        config = json.loads(self.blob(repository, manifest.json["config"]["digest"]))
        layers = [self.blob(repository, layer["digest"]) for layer in manifest.json["layers"] or ()]
        return read_image(manifest.digest, config, layers)

    def images(self, repository: str, tag: str) -> dict[str, Image]:
        """Every image of an index, by the platform its descriptor has, in the index's order; each config must say the same."""
        index = self.manifest(repository, tag)
        assert "manifests" in index.json, f"{repository}:{tag} is no index but {index.media_type}"
        found: dict[str, Image] = {}
        for descriptor in index.json["manifests"]:
            name = platform_name(descriptor["platform"])
            assert name not in found, f"two manifests for {name}"
            found[name] = self.image(repository, descriptor["digest"])
            assert found[name].platform == name
        return found


def read_image(digest: str, config: dict[str, Any], layers: list[bytes]) -> Image:
    """Unpack layers over one another."""
    files: dict[str, bytes] = {}
    modes: dict[str, int] = {}
    for layer in layers:
        data = gzip.decompress(layer) if layer[:2] == b"\x1f\x8b" else layer
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                name = member.name.removeprefix("./").strip("/")
                modes[name] = member.mode
                if member.isfile():
                    content = archive.extractfile(member)
                    assert content is not None
                    files[name] = content.read()
    return Image(digest=digest, config=config, files=files, modes=modes)
