"""JSON documents and archives as lines of text, by name: what differs can then be said in words."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from typing import Any

Lines = Mapping[str, str]


def sha256(data: bytes) -> str:
    """A digest as registries write it."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def flat(name: str, value: Any) -> dict[str, str]:
    """JSON as one line for each scalar."""
    if isinstance(value, dict):
        return {line: text for key, item in value.items() for line, text in flat(f"{name}.{key}", item).items()}
    if isinstance(value, list):
        return {line: text for number, item in enumerate(value) for line, text in flat(f"{name}[{number}]", item).items()}
    return {name: json.dumps(value)}


def tar_lines(data: bytes, name: str) -> dict[str, str]:
    """A line for each member of a tar, compressed or not."""
    lines = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for number, member in enumerate(archive):
            content = archive.extractfile(member) if member.isfile() else None
            digest = "" if content is None else sha256(content.read())[:19]
            facts = f"{number} {member.type!r} {member.mode:o} {member.uid}:{member.gid} {member.mtime} {member.size}"
            lines[f"{name} {member.name}"] = f"{facts} {member.linkname} {member.pax_headers} {digest}"
    return lines
