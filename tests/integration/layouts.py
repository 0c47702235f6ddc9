"""One solve with places of the test's own for what it writes, and what is in an OCI layout or archive, checked."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubectl_build.attachables import open_services
from kubectl_build.buildkit.attrs import build_job
from kubectl_build.buildkit.build import solve_job
from kubectl_build.buildkit.daemon import ignore, open_daemon
from kubectl_build.buildkit.solve import SolveResult
from kubectl_build.layout.store import LayoutStore
from kubectl_build.model.events import Sink
from kubectl_build.model.platform import Platform
from kubectl_build.model.request import BuildRequest
from kubectl_build.proto import gateway_pb2
from kubectl_build.session.filesend import ExportTarget
from tests.integration.test_registry import Nobody


def known(key: str) -> asyncio.Future[str]:
    """A shared key that need not be waited for."""
    future = asyncio.get_running_loop().create_future()
    future.set_result(key)
    return future


async def solve(
    buildkitd: Path,
    request: BuildRequest,
    platforms: Sequence[Platform] | None = None,
    *,
    pool: str = "",
    pools: Sequence[str] = (),
    targets: Mapping[int, ExportTarget] | None = None,
    stores: Mapping[str, LayoutStore] | None = None,
    emit: Sink = ignore,
) -> SolveResult:
    """Build `request` on the daemon, as `pool` of `pools`."""
    async with (
        open_daemon(f"unix://{buildkitd}") as daemon,
        open_services(request, keychain=Nobody(), shared_key=known(str(request.dockerfile.directory))) as services,
    ):
        job = build_job(request, request.platforms if platforms is None else platforms, pool=pool, pools=pools)
        result = await solve_job(job, daemon.client, _go_on, services=services, emit=emit, targets=targets, stores=stores)
        assert result is not None
        return result


async def _go_on(_: gateway_pb2.Result) -> bool:
    return True


@dataclass
class Image:
    """A layout, read with nothing of the product: the documents of index.json and below, and the digests of the blobs there are."""

    index: dict[str, Any]
    blobs: dict[str, bytes] = field(repr=False)

    def document(self, digest: str) -> dict[str, Any]:
        value = json.loads(self.blobs[digest])
        assert isinstance(value, dict)
        return value

    def reachable(self) -> set[str]:
        """What index.json leads to; fails where a blob is missing or has another size than is said."""
        found: set[str] = set()
        pending = list(self.index["manifests"])
        while pending:
            descriptor = pending.pop()
            assert len(self.blobs[descriptor["digest"]]) == descriptor["size"]
            found.add(descriptor["digest"])
            if "manifest" in descriptor["mediaType"] or "index" in descriptor["mediaType"]:
                document = self.document(descriptor["digest"])
                pending += [*document.get("manifests", []), *document.get("layers", [])]
                pending += [document["config"]] if "config" in document else []
        return found


def read_layout(path: Path) -> Image:
    """Read a layout directory; fails where anything lies in it that is no part of a layout."""
    files = {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
    assert sorted(str(entry.relative_to(path)) for entry in path.rglob("*") if entry.is_dir()) == ["blobs", "blobs/sha256"]
    return _image(files)


def read_archive(path: Path) -> Image:
    """Read an OCI archive; fails where anything lies in it that is no part of a layout."""
    with tarfile.open(path) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar if member.isreg()}  # type: ignore[union-attr]  # it is a file
    return _image(files)


def _image(files: dict[str, bytes]) -> Image:
    assert json.loads(files.pop("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(files.pop("index.json"))
    for name, data in files.items():
        assert name == f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"
    return Image(index, {f"sha256:{name.rpartition('/')[2]}": data for name, data in files.items()})


def peak_memory(*, reset: bool = False) -> int:
    """The most memory that this process has had, in bytes; from now on when `reset`."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024
