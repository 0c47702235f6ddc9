"""history export beside docker buildx, on the same build of the same daemon: the same archive, but for what buildx keeps on its machine."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from tests.integration.buildx import Buildx, buildx_on

_COMMAND = "from kubectl_build.cli.main import buildkit_main; buildkit_main()"


def unpacked(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive, "r:gz") as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isfile()}  # type: ignore[union-attr]  # a file has data


def build_of(archive: Path) -> tuple[list[Any], dict[str, Any]]:
    """The layers of the one build in an archive, and its record."""
    files = unpacked(archive)

    def document(descriptor: dict[str, Any]) -> Any:
        return json.loads(files["blobs/" + descriptor["digest"].replace(":", "/")])

    (top,) = json.loads(files["index.json"])["manifests"]
    manifest = document(top)
    return manifest["layers"], document(manifest["config"])


def export_theirs(buildx: Buildx, archive: Path) -> None:
    done = buildx("history", "export", "-o", str(archive))
    assert done.returncode == 0, done.stderr


def test_history_export_is_what_buildx_exports(buildkitd: Path, tmp_path: Path) -> None:
    buildx = buildx_on(buildkitd, tmp_path / "home")
    tree = tmp_path / "context"
    tree.mkdir()
    (tree / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    done = buildx("build", str(tree), "--output", f"type=oci,dest={tmp_path / 'image.tar'}")
    assert done.returncode == 0, done.stderr
    ours, before, after = (tmp_path / f"{name}.dockerbuild" for name in ("ours", "before", "after"))
    command = [sys.executable, "-c", _COMMAND, "history", "export", "--builder", f"unix://{buildkitd}", "-o", str(ours)]
    export_theirs(buildx, before)
    said = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    export_theirs(buildx, after)
    assert said.returncode == 0, said.stderr
    layers, record = build_of(ours)
    their_builds = [build_of(before), build_of(after)]
    for _, their_record in their_builds:
        their_record.pop("localState", None)
    assert [layers] * 2 == [their_layers for their_layers, _ in their_builds]
    # The daemon writes a record once more some seconds after the build, and counts that in it (Generation).
    assert record in [their_record for _, their_record in their_builds]
