from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubectl_build.errors import ProtocolError
from kubectl_build.layout.archive import ArchiveReader
from kubectl_build.layout.trees import joined_trees

NAMES = ("linux_386", "linux_amd64", "linux_arm64", "linux_arm_v7", "windows_amd64")

Tree = dict[str, bytes]


def write(path: Path, trees: dict[str, Tree], *, record: int = 1024) -> None:
    """A tar of `trees` in the order of their names, each with its directory first, as a daemon sends it."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for top in sorted(trees):
            directory = tarfile.TarInfo(top)
            directory.type = tarfile.DIRTYPE
            tar.addfile(directory)
            for name, data in trees[top].items():
                member = tarfile.TarInfo(f"{top}/{name}")
                member.size = len(data)
                member.pax_headers = {"SCHILY.xattr.user.x": "y" * (len(data) % 700)} if len(data) % 2 else {}
                tar.addfile(member, io.BytesIO(data))
    data = path.read_bytes()
    end = len(data.rstrip(b"\0"))
    path.write_bytes(data[: -(-end // 512) * 512] + bytes(record))


trees = st.dictionaries(
    st.sampled_from(NAMES),
    st.dictionaries(st.text("ab/äö\n", min_size=1, max_size=120).map(lambda text: f"f{text}"), st.binary(max_size=1500), max_size=4),
    max_size=5,
)


@given(trees=trees, owners=st.lists(st.integers(0, 2), min_size=5, max_size=5))
@settings(deadline=None, max_examples=60)
def test_joined_trees_are_the_tar_of_all(trees: dict[str, Tree], owners: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        parts = [Path(folder, str(pool)) for pool in range(3)]
        for pool, part in enumerate(parts):
            write(part, {name: tree for name, tree in trees.items() if owners[NAMES.index(name)] == pool})
        write(Path(folder, "all"), trees)

        assert b"".join(joined_trees(parts)) == Path(folder, "all").read_bytes()


def test_trees_of_one_name_are_refused(tmp_path: Path) -> None:
    for part in ("a", "b"):
        write(tmp_path / part, {"linux_amd64": {"x": b"1"}})

    with pytest.raises(ProtocolError, match='two directories "linux_amd64"'):
        list(joined_trees([tmp_path / "a", tmp_path / "b"]))


@pytest.mark.parametrize("name", ["file", "other/x", "/abs", "../x"])
def test_member_outside_of_a_tree_is_refused(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "a", "w") as tar:
        directory = tarfile.TarInfo("linux_amd64")
        directory.type = tarfile.DIRTYPE
        tar.addfile(directory)
        tar.addfile(tarfile.TarInfo(name))

    with pytest.raises(ProtocolError, match="outside of the platforms' directories"):
        list(joined_trees([tmp_path / "a"]))


@pytest.mark.parametrize("length", [100, 1536, 2048 + 700])
def test_tar_that_is_cut_short_is_refused(tmp_path: Path, length: int) -> None:
    write(tmp_path / "a", {"linux_amd64": {"x": b"1" * 3000}})
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:length])

    with pytest.raises(ProtocolError, match=r"cut short|not a tar archive"):
        list(joined_trees([tmp_path / "a"]))


@pytest.mark.parametrize("index", [None, b"{", b"{}", b'{"manifests": []}', b'{"manifests": [{"digest": "../x"}]}'])
def test_archive_without_an_image_is_refused(tmp_path: Path, index: bytes | None) -> None:
    with tarfile.open(tmp_path / "a", "w") as tar:
        if index is not None:
            member = tarfile.TarInfo("index.json")
            member.size = len(index)
            tar.addfile(member, io.BytesIO(index))

    with pytest.raises(ProtocolError, match="sent no OCI archive"):
        ArchiveReader(tmp_path / "a")
