"""A .dockerbuild archive: an OCI layout whose blobs are all there, and what of a record is left out of it."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from io import BytesIO
from typing import Any

from kubectl_build.buildkit.histories import read_record
from kubectl_build.buildkit.history_archive import ArchivedBuild, write_archive
from kubectl_build.proto import control_pb2


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def archived(ref: str) -> ArchivedBuild:
    log, index, statement = b"log " + ref.encode(), b"{}", b"statement"
    imports = json.dumps([{"Type": "s3", "Attrs": {"ref": "r", "secret_access_key": "hidden"}}])
    message = control_pb2.BuildHistoryRecord(Ref=ref, FrontendAttrs={"cache-imports": imports, "target": "x"}, numTotalSteps=3)
    message.CreatedAt.seconds = 12
    message.logs.MergeFrom(control_pb2.Descriptor(media_type="application/log", digest=digest(log), size=len(log)))
    message.trace.MergeFrom(control_pb2.Descriptor(media_type="application/trace", digest=digest(b"trace"), size=5))
    message.Result.Results[0].MergeFrom(control_pb2.Descriptor(media_type="application/index", digest=digest(index), size=len(index)))
    message.Results["linux/amd64"].Attestations.add(media_type="application/json", digest=digest(statement), size=len(statement))
    contents = {digest(data): data for data in (log, index, statement)}
    return ArchivedBuild(record=read_record(message), platform="linux/amd64", blobs=contents)


def unpacked(*builds: ArchivedBuild) -> dict[str, bytes]:
    target = BytesIO()
    write_archive(builds, target)
    with tarfile.open(fileobj=BytesIO(gzip.decompress(target.getvalue()))) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]  # all are files


def blob(files: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    data = files["blobs/" + descriptor["digest"].replace(":", "/")]
    assert (len(data), digest(data)) == (descriptor["size"], descriptor["digest"])
    return data


def test_archive_of_one_build_is_a_manifest_with_its_record_and_blobs() -> None:
    files = unpacked(archived("abc"))
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (top,) = json.loads(files["index.json"])["manifests"]
    manifest = json.loads(blob(files, top))
    record = json.loads(blob(files, manifest["config"]))
    assert manifest["config"]["mediaType"] == "application/vnd.buildkit.historyrecord.v0"
    assert (record["Ref"], record["CreatedAt"], record["numTotalSteps"]) == ("abc", {"seconds": 12}, 3)
    assert record["DefaultPlatform"] == "linux/amd64"
    assert [blob(files, layer) for layer in manifest["layers"]] == [b"log abc", b"{}", b"statement"]
    result = manifest["layers"][1]
    assert (result["mediaType"], result["annotations"]) == (
        "application/json",
        {"vnd.export-build.descriptor.mediatype": "application/index"},
    )


def test_archive_leaves_out_logins_and_traces() -> None:
    files = unpacked(archived("abc"))
    assert not [name for name, data in files.items() if b"hidden" in data or b"trace" in data]


def test_archive_of_several_builds_is_an_index_that_names_them() -> None:
    files = unpacked(archived("abc"), archived("def"))
    (top,) = json.loads(files["index.json"])["manifests"]
    index = json.loads(blob(files, top))
    assert [item["annotations"]["vnd.buildkit.history.reference"] for item in index["manifests"]] == ["abc", "def"]
