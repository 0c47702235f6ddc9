"""The layers of the mirror's images: the same bytes for the same files, whatever the files' own times and order."""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
from pathlib import Path

import pytest

from tests.cluster.images.layers import Layer, Tree


def read(blobs: Path, layer: Layer) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(blobs / layer.digest.removeprefix("sha256:")) as archive:
        return {entry.name: entry for entry in archive}


def test_layer_of_files_added_in_another_order_and_at_another_time_is_the_same(tmp_path: Path) -> None:
    source = tmp_path / "program"
    source.write_text("x")
    first = Tree()
    first.file("/bin/program", source, mode=0o755)
    first.file("/etc/name", "value")
    second = Tree()
    second.file("/etc/name", b"value")
    second.file("/bin/program", source, mode=0o755)

    before = first.write(tmp_path)
    os.utime(source, (1, 1))

    assert second.write(tmp_path) == before


def test_layer_says_its_own_digests_and_size(tmp_path: Path) -> None:
    tree = Tree()
    tree.file("/file", "content")

    layer = tree.write(tmp_path)

    packed = (tmp_path / layer.digest.removeprefix("sha256:")).read_bytes()
    assert layer.digest == f"sha256:{hashlib.sha256(packed).hexdigest()}"
    assert layer.diff_id == f"sha256:{hashlib.sha256(gzip.decompress(packed)).hexdigest()}"
    assert layer.size == len(packed)


def test_layer_has_parents_before_what_is_in_them_and_keeps_a_parents_own_mode(tmp_path: Path) -> None:
    tree = Tree()
    tree.file("/home/user/deep/file", "", owner=7)
    tree.directory("/home/user", mode=0o700, owner=7)
    tree.symlink("/home/link", "user")

    entries = read(tmp_path, tree.write(tmp_path))

    assert list(entries) == ["home", "home/link", "home/user", "home/user/deep", "home/user/deep/file"]
    assert (entries["home/user"].mode, entries["home/user"].uid, entries["home/user"].gid) == (0o700, 7, 7)
    assert (entries["home"].mode, entries["home"].uid) == (0o755, 0)
    assert entries["home/link"].linkname == "user"
    assert {entry.mtime for entry in entries.values()} == {0}


def test_copy_leaves_out_names_and_suffixes_at_any_depth(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("a/kept.go", "a/kept_test.go", "a/testdata/x", "testdata/y", "run"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    (source / "run").chmod(0o700)
    (source / "link").symlink_to("a")
    tree = Tree()
    tree.copy(source, "/go", leave_out=["testdata", "*_test.go"])

    entries = read(tmp_path, tree.write(tmp_path))

    assert sorted(entries) == ["go", "go/a", "go/a/kept.go", "go/link", "go/run"]
    assert (entries["go/run"].mode, entries["go/a/kept.go"].mode) == (0o755, 0o644)
    assert entries["go/link"].issym()


@pytest.mark.parametrize("path", ["relative", ""])
def test_path_that_is_not_absolute_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="not in the subpath of '/'"):
        Tree().file(path, "")


def test_layer_has_the_capability_of_a_file_as_the_kernel_keeps_it(tmp_path: Path) -> None:
    tree = Tree()
    tree.file("/mapper", b"x", mode=0o755, capability=7)
    layer = tree.write(tmp_path)

    with tarfile.open(tmp_path / layer.digest.removeprefix("sha256:")) as archive:
        (member,) = archive
    value = member.pax_headers["SCHILY.xattr.security.capability"].encode("utf-8", "surrogateescape")
    assert value == bytes([1, 0, 0, 2, 0x80]) + bytes(15)
