"""registry.index against a real buildkitd: what separate solves made, merged, has the bytes of what one solve made."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from kubectl_build.errors import RegistryError
from kubectl_build.model.digest import MEDIA_TYPE_DOCKER_LIST, MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST, Descriptor, sha256_digest
from kubectl_build.model.json import JsonObject
from kubectl_build.model.platform import Platform, parse_platform, parse_platforms
from kubectl_build.registry.client import RegistryTrust, open_registry
from kubectl_build.registry.index import Child, merge_index
from tests.cluster import tools
from tests.cluster.registries import Kind, Registry, run_registry
from tests.integration.test_registry import Nobody, free_address

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]  # the first run may build buildctl and fetch the registry

_PLATFORMS = ("linux/arm64", "linux/amd64", "linux/386", "windows/amd64")


@dataclass(frozen=True)
class Bench:
    """A daemon, a registry that it pushes to, and a context."""

    buildctl: Path
    socket: Path
    registry: Registry
    context: Path

    def solve(self, platforms: Sequence[str], *, name: str, frontend: Sequence[str] = (), image: str = "") -> Descriptor:
        """Build and push `platforms` in one solve; return the descriptor of what was made."""
        metadata = self.context.parent / "metadata.json"
        output = f"type=image,name={self.registry.address}/{name},push=true,registry.insecure=true{image}"
        options = [f"platform={','.join(platforms)}", "build-arg:SOURCE_DATE_EPOCH=1700000000", *frontend]
        command = [str(self.buildctl), f"--addr=unix://{self.socket}", "build", "--frontend=dockerfile.v0", "--progress=plain"]
        command += [f"--local=context={self.context}", f"--local=dockerfile={self.context}", f"--output={output}"]
        command += [f"--metadata-file={metadata}", *(f"--opt={option}" for option in options)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        raw = json.loads(metadata.read_text())["containerimage.descriptor"]
        if isinstance(raw, str):
            raw = json.loads(base64.b64decode(raw))
        return Descriptor(media_type=raw["mediaType"], digest=raw["digest"], size=raw["size"], platform=_platform(raw))

    async def child(self, platform: str, *, frontend: Sequence[str] = (), image: str = "") -> Child:
        """Build `platform` alone, pushed by digest, as one pool does."""
        made = self.solve([platform], name="app", frontend=["multi-platform=true", *frontend], image=f",push-by-digest=true{image}")
        data = await self.fetch(made.digest)
        return Child(descriptor=made, raw_descriptor=_raw(made), index=data)

    async def fetch(self, reference: str) -> bytes:
        async with open_registry(self.registry.address, keychain=Nobody(), trust=RegistryTrust(http=True)) as registry:
            return (await registry.get_manifest("app", reference))[0]


def _platform(raw: JsonObject) -> Platform | None:
    value = raw.get("platform")
    return parse_platform(f"{value['os']}/{value['architecture']}") if value else None


def _raw(descriptor: Descriptor) -> JsonObject:
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}


@pytest.fixture(scope="module")
def bench(buildkitd: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    programs = tools.ensure(["buildctl", "docker-registry"])
    folder = tmp_path_factory.mktemp("index")
    context = folder / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nARG TARGETARCH\nCOPY file /file-$TARGETARCH\nLABEL text='<a> & b'\n")
    (context / "file").write_text("content")
    with run_registry(Kind.INSECURE, folder / "registry", free_address(), binary=programs["docker-registry"]) as registry:
        yield Bench(programs["buildctl"], buildkitd, registry, context)


@pytest.mark.parametrize(
    ("image", "media_type"),
    [
        ("", MEDIA_TYPE_INDEX),
        (",oci-mediatypes=false", MEDIA_TYPE_DOCKER_LIST),
        (",annotation-index.b=<two>,annotation-index.a=one&,annotation-manifest-descriptor.z=<&>", MEDIA_TYPE_INDEX),
        (",annotation-manifest-descriptor[linux/arm64].only=arm", MEDIA_TYPE_INDEX),
    ],
    ids=["oci", "docker", "annotations", "annotation-of-one-platform"],
)
async def test_platforms_solved_apart_and_merged_are_the_index_of_one_solve(bench: Bench, image: str, media_type: str) -> None:
    whole = bench.solve(_PLATFORMS, name="app:whole", image=image)
    # An annotation of one platform is an error where that platform is not built.
    images = {platform: image if "[" not in image or platform == "linux/arm64" else "" for platform in _PLATFORMS}
    children = [await bench.child(platform, image=images[platform]) for platform in reversed(_PLATFORMS)]

    document = merge_index(parse_platforms(_PLATFORMS), children)

    assert document.data == await bench.fetch("whole")
    assert document.media_type == whole.media_type == media_type
    async with open_registry(bench.registry.address, keychain=Nobody(), trust=RegistryTrust(http=True)) as registry:
        assert await registry.put_manifest("app", "merged", document.data, document.media_type) == whole.digest
        head = await registry.head_manifest("app", "merged")
    assert head == Descriptor(media_type=media_type, digest=whole.digest, size=whole.size)


async def test_single_manifests_merged_are_the_index_of_one_solve(bench: Bench) -> None:
    whole = bench.solve(_PLATFORMS, name="app:whole")
    children = []
    for platform in _PLATFORMS:
        made = bench.solve([platform], name="app", image=",push-by-digest=true")
        assert not made.is_index
        os, architecture = platform.split("/")
        children.append(Child(descriptor=made, raw_descriptor={**_raw(made), "platform": {"os": os, "architecture": architecture}}))

    assert merge_index(parse_platforms(_PLATFORMS), children).digest == whole.digest


async def test_attestations_taken_apart_and_merged_are_the_index_of_one_solve(bench: Bench) -> None:
    """Provenance differs from solve to solve, so the parts come from the one index itself."""
    bench.solve(_PLATFORMS, name="app:attested", frontend=["attest:provenance=mode=min"])
    data = await bench.fetch("attested")
    index = json.loads(data)
    count = len(_PLATFORMS)
    assert len(index["manifests"]) == 2 * count
    children = []
    for chosen in ({2, 0}, {1, 3}):
        part = {**index, "manifests": [m for n, m in enumerate(index["manifests"]) if n % count in chosen]}
        content = json.dumps(part).encode()
        made = Descriptor(media_type=MEDIA_TYPE_INDEX, digest=sha256_digest(content), size=len(content))
        children.append(Child(descriptor=made, raw_descriptor=_raw(made), index=content))

    assert merge_index(parse_platforms(_PLATFORMS), children).data == data


async def test_index_of_manifests_that_are_not_there_is_refused(bench: Bench) -> None:
    made = Descriptor(media_type=MEDIA_TYPE_MANIFEST, digest="sha256:" + "0" * 64, size=2)
    raw = {**_raw(made), "platform": {"os": "linux", "architecture": "amd64"}}
    document = merge_index([Platform("linux", "amd64")], [Child(descriptor=made, raw_descriptor=raw)])
    async with open_registry(bench.registry.address, keychain=Nobody(), trust=RegistryTrust(http=True)) as registry:
        with pytest.raises(RegistryError) as caught:
            await registry.put_manifest("app", "absent", document.data, document.media_type)

    assert caught.value.code == "MANIFEST_BLOB_UNKNOWN"
