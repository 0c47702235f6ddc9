"""Writing what contexts are made of, the same bytes at each call."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from tests.cluster.images.layers import Tree
from tests.cluster.images.oci import Image, Layout, Platform

_THEN = 1_700_000_000
"""The time of everything that has one: a server tells it, and a git commit's digest has it."""
_WHO = {"NAME": "Parity", "EMAIL": "parity@example.com", "DATE": f"{_THEN} +0000"}


def write_fixed(target: Path, data: bytes) -> None:
    """Write a file with a time that is always the same."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    os.utime(target, (_THEN, _THEN))


def tar_bytes(content: Mapping[str, str]) -> bytes:
    """A plain tar."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in content.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(text.encode()), _THEN, 0o640
            archive.addfile(info, io.BytesIO(text.encode()))
    return packed.getvalue()


def write_tar(target: Path, content: Mapping[str, str]) -> None:
    """Write a tar, compressed as the end of its name says."""
    data = tar_bytes(content)
    packers: dict[str, Callable[[bytes], bytes]] = {".gz": partial(gzip.compress, mtime=0), ".xz": lzma.compress, ".bz2": bz2.compress}
    if target.suffix in packers:
        data = packers[target.suffix](data)
    write_fixed(target, data)


def write_gzip(target: Path, data: bytes) -> None:
    """Write compressed data without a time in it."""
    write_fixed(target, gzip.compress(data, mtime=0))


def write_repository(target: Path, content: Mapping[str, str], *, origin: str = "") -> None:
    """Make a git repository that can be fetched: a commit on `main`, tagged v1, and a later one on `other` with a file more."""
    target.mkdir(parents=True)

    def git(*args: str) -> None:
        who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in _WHO.items()}
        variables = os.environ | who | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        subprocess.run(["git", *args], cwd=target, env=variables, check=True, capture_output=True, timeout=20)

    git("init", "-q", "-b", "main")
    for name, text in content.items():
        write_fixed(target / name, text.encode())
    git("add", ".")
    git("commit", "-q", "-m", "first")
    git("tag", "v1")
    git("checkout", "-q", "-b", "other")
    write_fixed(target / "sub" / "other", b"on the other branch\n")
    git("add", ".")
    git("commit", "-q", "-m", "second")
    git("checkout", "-q", "main")
    if origin:
        git("remote", "add", "origin", origin)


def write_layout(target: Path, tags: tuple[str, ...], content: Mapping[str, str]) -> str:
    """Make an OCI layout with one image of two platforms under each tag; returns the digest of its index."""
    target.mkdir()
    layout = Layout.create(target)
    tree = Tree()
    for name, text in content.items():
        tree.file(name, text)
    layer = layout.layer(tree)
    images = [Image(platform=Platform("linux", arch), layers=[layer], config={"Env": [f"ARCH={arch}"]}) for arch in ("amd64", "arm64")]
    layout.add("example.com/made", tags, images)
    index = json.loads((target / "index.json").read_text())
    for entry, tag in zip(index["manifests"], tags, strict=True):
        entry["annotations"] = {"org.opencontainers.image.ref.name": tag}  # in a layout of one image the tag alone is its name
    (target / "index.json").write_text(json.dumps(index))
    return str(index["manifests"][0]["digest"])
