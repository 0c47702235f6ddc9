"""What a build left behind, as text that can be compared line by line.

`digest` alone decides; `lines` says where two differ, and is only asked for then.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.registry import Registry, platform_name
from tests.parity import volatile
from tests.parity.lines import Lines, flat, sha256, tar_lines


@dataclass(frozen=True, slots=True)
class Evidence:
    """`digest` stands for all of the result but for what `rest` stands for."""

    digest: str
    lines: Callable[[], Lines] = field(repr=False, compare=False)
    rest: str = ""

    def beside(self, other: Evidence) -> Evidence:
        """The two together, known by the digest of the first."""
        return Evidence(self.digest, lambda: {**self.lines(), **other.lines()}, other.digest)


def differences(one: Evidence, other: Evidence) -> list[str]:
    """Where they differ, a line each, the first tool's value before the other's."""
    if one == other:
        return []
    mine, yours = one.lines(), other.lines()
    found = [
        f"{name}: {mine.get(name, '(none)')} | {yours.get(name, '(none)')}"
        for name in sorted(mine.keys() | yours.keys())
        if mine.get(name) != yours.get(name)
    ]
    return found or [f"digest: {one.digest} | {other.digest}"]


def of_lines(lines: Lines) -> Evidence:
    """Lines that are the whole result."""
    return Evidence(sha256(json.dumps(dict(lines), sort_keys=True).encode()), lambda: lines)


def of_pushed(registry: Registry, repository: str, tag: str) -> Evidence:
    """A manifest or index with all below it."""
    return Evidence(registry.manifest(repository, tag).digest, lambda: _registry_lines(registry, repository, tag))


def _registry_lines(registry: Registry, repository: str, tag: str) -> dict[str, str]:
    top = registry.manifest(repository, tag)
    lines = flat("top", top.json)
    if "manifests" not in top.json:
        return lines | _manifest_lines(registry, repository, tag, "image")
    for number, child in enumerate(top.json["manifests"]):
        lines |= _manifest_lines(registry, repository, child["digest"], f"[{number}] {platform_name(child.get('platform', {}))}")
    return lines


def _manifest_lines(registry: Registry, repository: str, reference: str, name: str) -> dict[str, str]:
    manifest = registry.manifest(repository, reference).json
    lines = flat(name, manifest) | flat(f"{name} config", json.loads(registry.blob(repository, manifest["config"]["digest"])))
    for number, layer in enumerate(manifest["layers"]):
        data = registry.blob(repository, layer["digest"])
        if "tar" in layer["mediaType"] and not layer["mediaType"].endswith("zstd"):
            lines |= tar_lines(data, f"{name} layer {number}")
        elif "json" in layer["mediaType"]:
            lines |= flat(f"{name} layer {number}", json.loads(data))
    return lines


def of_attested(registry: Registry, repository: str, tag: str) -> Evidence:
    """An index whose attestations are compared without what differs between any two builds."""
    lines: dict[str, str] = {}
    for number, child in enumerate(registry.manifest(repository, tag).json["manifests"]):
        annotations = child.get("annotations", {})
        if annotations.get("vnd.docker.reference.type") != "attestation-manifest":
            lines |= flat(f"[{number}]", child)
            continue
        about = annotations["vnd.docker.reference.digest"]
        manifest = registry.manifest(repository, child["digest"]).json
        lines |= flat(f"[{number}] of {about}", {"platform": child["platform"], "type": manifest.get("artifactType")})
        for layer in manifest["layers"]:
            statement = json.loads(registry.blob(repository, layer["digest"]))
            lines |= flat(f"[{number}] {statement['predicateType']}", volatile.without(statement))
    return of_lines(volatile.unnamed(lines))


def of_timeless(registry: Registry, repository: str, tag: str) -> Evidence:
    """An image or index by all that it holds, without the times that the daemon puts in and what is a digest of them."""
    return of_lines(volatile.timeless(_registry_lines(registry, repository, tag)))


def of_output(root: Path, stdout: bytes, own: Sequence[str]) -> Evidence:
    """All below a directory, and what was printed; the words of `own`, in this order, are the tool's and say nothing."""

    def same(data: bytes) -> bytes:
        for number, word in enumerate(own):
            data = data.replace(word.encode(), b"OWN-%d" % number)
        return data

    lines: dict[str, str] = {}
    inodes: dict[int, str] = {}
    for folder, folders, files in os.walk(root):
        if "oci-layout" in files and "ingest" in folders:
            folders.remove("ingest")  # containerd's content store leaves its empty working directory there; a layout has none
        for entry in sorted((*folders, *files)):
            path = Path(folder, entry)
            name = str(path.relative_to(root))
            first = inodes.setdefault(path.lstat().st_ino, name)
            if entry == METADATA:
                lines |= _metadata_lines(same(path.read_bytes()))
            else:
                lines[name] = _facts(path) + (f" same file as {first}" if first != name else "")
    printed = _printed_lines(same(stdout))
    lines["stdout"] = of_lines(printed).digest

    def in_detail() -> Lines:
        detailed = dict(lines)
        for archive in root.rglob("*.tar"):
            detailed |= tar_lines(archive.read_bytes(), str(archive.relative_to(root)))
        return detailed | printed

    return Evidence(of_lines(lines).digest, in_detail)


def _printed_lines(data: bytes) -> dict[str, str]:
    """What was printed: a JSON document field by field, what is binary by its digest, else line by line."""
    if data.startswith(b"{"):
        return flat("stdout", volatile.without(json.loads(data)))
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return {"stdout": sha256(data)}
    return {f"stdout:{number}": line for number, line in enumerate(text.splitlines(), 1)}


METADATA = "metadata.json"
"""The name of a --metadata-file among the outputs."""


def _metadata_lines(data: bytes) -> dict[str, str]:
    """What both tools write; each has keys of its own besides, and names the build."""
    return {
        line: text
        for key, value in json.loads(data).items()
        if key.startswith(("containerimage.", "image."))
        for line, text in flat(f"{METADATA} {key}", value).items()
    }


def _facts(path: Path) -> str:
    info = path.lstat()
    kind = stat.S_IFMT(info.st_mode)
    if kind == stat.S_IFLNK:
        return f"link to {os.readlink(path)}"
    marks = {name: os.getxattr(path, name, follow_symlinks=False).hex() for name in sorted(os.listxattr(path, follow_symlinks=False))}
    facts = f"{stat.filemode(info.st_mode)} {info.st_uid}:{info.st_gid} {marks or ''}"
    if kind == stat.S_IFREG:
        return f"{facts} {info.st_size} {sha256(path.read_bytes())}"
    return facts
