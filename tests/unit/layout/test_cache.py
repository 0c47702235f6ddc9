from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from kubectl_build.errors import ProtocolError, UsageError
from kubectl_build.layout.cache import open_local_caches, record_local_caches, reset_local_caches
from kubectl_build.layout.index import find_entry, put_entry, read_index, tag_name
from kubectl_build.layout.store import LayoutStore
from kubectl_build.model.request import CacheEntry

REGISTRY = CacheEntry(type="registry", attrs={"ref": "reg.invalid/cache"})


def local(**attrs: object) -> CacheEntry:
    return CacheEntry(type="local", attrs={name: str(value) for name, value in attrs.items()})


def put_blob(path: Path, data: bytes) -> str:
    writer = LayoutStore(path).writer()
    writer.open()
    writer.write(data)
    assert writer.commit()
    writer.close()
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def descriptor(digest: str, media_type: str = "application/vnd.oci.image.manifest.v1+json") -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest, "size": 1}


def test_import_gets_the_digest_of_its_tag_and_a_store_that_is_read_only(tmp_path: Path) -> None:
    digests = {tag: put_blob(tmp_path, tag.encode()) for tag in ("latest", "x")}
    for tag, digest in digests.items():
        put_entry(tmp_path, descriptor(digest), [tag_name(tag)])

    found = open_local_caches([REGISTRY, local(src=tmp_path), local(src=tmp_path, tag="x")], [])

    assert [entry.attrs.get("digest") for entry in found.imports] == [None, digests["latest"], digests["x"]]
    assert found.imports[0] is REGISTRY
    assert found.imports[2].attrs["tag"] == "x"
    assert list(found.stores) == [f"local:{tmp_path}"]
    assert found.stores[f"local:{tmp_path}"].read_only
    assert found.skipped == ()


def test_import_of_what_is_not_there_is_skipped_in_words(tmp_path: Path) -> None:
    put_entry(tmp_path / "gone", descriptor("sha256:" + "a" * 64), [tag_name("latest")])
    entries = [
        local(src=tmp_path / "no"),
        local(src=tmp_path / "gone"),
        local(src=tmp_path / "gone", tag="t"),
        local(src=tmp_path, digest="../x"),
    ]

    found = open_local_caches(entries, [])

    assert (found.imports, found.stores) == ((), {})
    assert [text.rpartition(": ")[2] for text in found.skipped] == [
        "no such file or directory",
        f"it does not have sha256:{'a' * 64}",
        'it has no tag "t"',
        '"../x" is not a digest',
    ]
    assert all(text.startswith("nothing is imported from the local cache") for text in found.skipped)
    assert sorted(os.listdir(tmp_path)) == ["gone"]


def test_export_makes_nothing_yet_and_may_be_where_the_import_is(tmp_path: Path) -> None:
    put_entry(tmp_path / "c", descriptor(put_blob(tmp_path / "c", b"x")), [tag_name("latest")])

    found = open_local_caches([local(src=tmp_path / "c")], [REGISTRY, local(dest=tmp_path / "c"), local(dest=tmp_path / "a" / "new")])

    assert [entry.type for entry in found.exports] == ["registry", "local", "local"]
    assert not any(store.read_only for store in found.stores.values())
    assert not (tmp_path / "a").exists(), "a build that fails would leave it"


def test_path_that_no_header_can_hold_gets_a_name_that_it_can(tmp_path: Path) -> None:
    found = open_local_caches([], [local(dest=tmp_path / "ä\nb")])

    assert found.exports[0].attrs["dest"] == f"{tmp_path}/%C3%A4%0Ab"
    assert found.stores[f"local:{tmp_path}/%C3%A4%0Ab"].path == tmp_path / "ä\nb"


@pytest.mark.parametrize(
    ("imports", "exports", "message"),
    [
        ([local()], [], "a local cache needs src=DIRECTORY"),
        ([], [local(tag="x")], "a local cache needs dest=DIRECTORY"),
        ([], [local(dest="x", reset="maybe")], "reset=maybe"),
        ([], [local(dest="file/x")], 'local cache "file/x" cannot be made: not a directory'),
    ],
)
def test_local_cache_without_a_directory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imports: list[CacheEntry], exports: list[CacheEntry], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()

    with pytest.raises(UsageError, match=message):
        open_local_caches(imports, exports)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_local_cache_that_may_not_be_made_is_refused_before_the_build(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(UsageError, match="cannot be made: permission denied"):
        open_local_caches([], [local(dest=tmp_path / "a" / "b")])


def test_response_is_recorded_under_the_tag_where_the_blob_is(tmp_path: Path) -> None:
    digest = put_blob(tmp_path / "a", b"manifest")
    entries = [local(dest=tmp_path / "a", tag="t"), local(dest=tmp_path / "b"), REGISTRY]

    record_local_caches(entries, {"cache.manifest": json.dumps(descriptor(digest))})
    record_local_caches(entries, {})

    assert (find_entry(read_index(tmp_path / "a"), "t") or {})["digest"] == digest
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("text", ["{", "[]", "{}", '"x"'])
def test_response_that_is_no_descriptor_is_a_protocol_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ProtocolError, match="no descriptor for the cache"):
        record_local_caches([local(dest=tmp_path)], {"cache.manifest": text})


def test_reset_keeps_what_tags_lead_to_and_what_is_new(tmp_path: Path) -> None:
    layer, config, old, new = (put_blob(tmp_path, name) for name in (b"layer", b"config", b"old", b"new"))
    manifest = put_blob(tmp_path, json.dumps({"layers": [{"digest": layer}], "config": {"digest": config}}).encode())
    index = put_blob(tmp_path, json.dumps({"manifests": [descriptor(manifest), descriptor("sha256:" + "0" * 64)]}).encode())
    put_entry(tmp_path, descriptor(index, "application/vnd.oci.image.index.v1+json"), [tag_name("t")])
    now = time.time()
    for blob in (layer, config, old, manifest, index):
        os.utime(LayoutStore(tmp_path).blob_path(blob), (1, 1))

    reset_local_caches([local(dest=tmp_path), REGISTRY], before=now - 10)
    assert len(list(LayoutStore(tmp_path).blobs())) == 6
    reset_local_caches([local(dest=tmp_path, reset="1")], before=now - 10)

    assert {blob.digest for blob in LayoutStore(tmp_path).blobs()} == {layer, config, manifest, index, new}


def test_reset_with_a_broken_manifest_removes_nothing(tmp_path: Path) -> None:
    broken, old = put_blob(tmp_path, b"not json"), put_blob(tmp_path, b"old")
    put_entry(tmp_path, descriptor(broken), [tag_name("t")])

    with pytest.raises(UsageError, match="is not a manifest"):
        reset_local_caches([local(dest=tmp_path, reset="true")], before=time.time() + 10)

    assert LayoutStore(tmp_path).info(old) is not None
