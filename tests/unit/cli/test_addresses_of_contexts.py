"""Which words are addresses that the daemon fetches from, and which image of a layout is meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kubectl_build.cli.layouts import open_layout, split_layout
from kubectl_build.cli.remote import is_git_over_ssh, is_remote
from kubectl_build.errors import UsageError

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


@pytest.mark.parametrize(
    ("text", "remote", "over_ssh"),
    [
        ("https://host/x.git", True, False),
        ("https://host/not-git", True, False),
        ("http://host/x.tar.gz", True, False),
        ("HTTPS://host/x.git", True, False),
        ("HTTPS://host/x", False, False),
        ("git://host/x", True, False),
        ("ssh://git@host/x", True, True),
        ("git@github.com:me/x.git", True, True),
        ("me@host.example:x#main:sub", True, True),
        ("github.com/me/x", True, False),
        ("./github.com/me/x", False, False),
        ("../x", False, False),
        ("x/y", False, False),
        ("ftp://host/x.git", False, False),
        ("docker-image://alpine", False, False),
        (" https://host/x.git", False, False),
        ("gitlab.com/me/x", False, False),
    ],
)
def test_address_is_told_from_a_path(text: str, remote: bool, over_ssh: bool) -> None:
    assert (is_remote(text), is_git_over_ssh(text)) == (remote, over_ssh)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oci-layout://dir", ("dir", "latest", "")),
        ("oci-layout:///a/b:v1", ("/a/b", "v1", "")),
        (f"oci-layout://dir@{A}", ("dir", "", A)),
        (f"oci-layout://dir:v1@{A}", ("dir", "v1", A)),
        ("oci-layout://di@r", ("di@r", "latest", "")),
        ("oci-layout://a:b/c", ("a:b/c", "latest", "")),
    ],
)
def test_layout_reference_is_split_as_by_buildx(text: str, expected: tuple[str, str, str]) -> None:
    path, tag, digest = split_layout(text)

    assert (str(path), tag, digest) == expected


def layout(path: Path, *manifests: dict[str, object]) -> str:
    (path / "index.json").write_text(json.dumps({"manifests": list(manifests)}))
    return f"oci-layout://{path}"


def test_layout_image_is_found_by_name_before_tag(tmp_path: Path) -> None:
    text = layout(
        tmp_path,
        {"digest": A, "annotations": {"org.opencontainers.image.ref.name": "v1"}},
        {"digest": B, "annotations": {"io.containerd.image.name": "v1"}},
    )

    assert open_layout(f"{text}:v1").digest == B
    assert open_layout(f"{text}@{A}").digest == A


def test_layout_with_one_image_needs_no_tag(tmp_path: Path) -> None:
    text = layout(tmp_path, {"digest": A})

    assert open_layout(text) == open_layout(f"{text}:other")


def test_layout_with_several_images_needs_a_tag_that_exists(tmp_path: Path) -> None:
    text = layout(tmp_path, {"digest": A}, {"digest": B, "annotations": None})

    with pytest.raises(UsageError, match='of 2 manifests none has the tag "v1"'):
        open_layout(f"{text}:v1")


@pytest.mark.parametrize("document", ["", "[]", '{"manifests": {}}', '{"manifests": [1]}', '{"manifests": [{"digest": "x"}]}'])
def test_layout_that_is_broken_is_refused(document: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(document)

    with pytest.raises(UsageError):
        open_layout(f"oci-layout://{tmp_path}")
