"""What is published is found where docker-registry looks for it, and a node's archive holds its own platform only."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

from tests.cluster.images import storage
from tests.cluster.images.layers import Tree
from tests.cluster.images.oci import Image, Layout, Platform

NAME = "docker.io/library/thing"


def make(directory: Path, *, content: str = "x") -> Layout:
    layout = Layout.create(directory)
    tree = Tree()
    tree.file("/file", content)
    layer = layout.layer(tree)
    platforms = (Platform("linux", "amd64"), Platform.parse("linux/arm64/v8"))
    layout.add(NAME, ("1", "latest"), [Image(platform=platform, layers=[layer], config={"Cmd": ["sh"]}) for platform in platforms])
    return layout


def test_index_lists_each_platform_and_the_config_agrees(tmp_path: Path) -> None:
    layout = make(tmp_path / "layout")

    [(_, _, digest), _] = layout.names()
    entries = layout.read(digest)["manifests"]
    configs = [layout.read(layout.read(entry["digest"])["config"]["digest"]) for entry in entries]

    assert [entry["platform"] for entry in entries] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux", "variant": "v8"},
    ]
    assert [(config["architecture"], config.get("variant")) for config in configs] == [("amd64", None), ("arm64", "v8")]


def test_published_names_lead_to_every_blob(tmp_path: Path) -> None:
    layout = make(tmp_path / "layout")
    served = tmp_path / "served"

    storage.publish(layout, served)

    root = served / "docker/registry/v2"
    repository = root / "repositories" / NAME
    digests = {(repository / f"_manifests/tags/{tag}/current/link").read_text() for tag in ("1", "latest")}
    assert digests == {layout.names()[0][2]}
    revisions = {link.read_text() for link in repository.glob("_manifests/revisions/sha256/*/link")}
    layers = {link.read_text() for link in repository.glob("_layers/sha256/*/link")}
    stored = {f"sha256:{data.parent.name}" for data in root.glob("blobs/sha256/*/*/data")}
    assert len(revisions) == 3
    assert len(layers) == 3
    assert revisions | layers == stored


def test_publishing_a_second_layout_keeps_the_first(tmp_path: Path) -> None:
    served = tmp_path / "served"
    storage.publish(make(tmp_path / "one"), served)
    other = Layout.create(tmp_path / "two")
    other.add("gcr.io/other", ("v1",), [Image(platform=Platform("linux", "amd64"), layers=[])])

    storage.publish(other, served)

    tags = served.glob("docker/registry/v2/repositories/**/_manifests/tags/*")
    assert {tag.name for tag in tags} == {"1", "latest", "v1"}


def test_archive_has_one_platform_under_its_whole_name(tmp_path: Path) -> None:
    layout = make(tmp_path / "layout")
    target = tmp_path / "arm64.tar"

    layout.archive(target, platform=Platform.parse("linux/arm64/v8"))

    with tarfile.open(target) as archive:
        names = archive.getnames()
        file = archive.extractfile("index.json")
        assert file is not None
        entries = json.load(file)["manifests"]
    assert [entry["annotations"]["io.containerd.image.name"] for entry in entries] == [f"{NAME}:1", f"{NAME}:latest"]
    assert {entry["platform"]["architecture"] for entry in entries} == {"arm64"}
    assert len([name for name in names if name.startswith("blobs/sha256/")]) == 3
