"""What differs between any two builds of the same, also between two by `docker buildx build`, and so cannot be compared."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from tests.parity.lines import Lines, flat

_TIMES_AND_IDS = {"startedOn", "finishedOn", "buildStartedOn", "buildFinishedOn", "invocationId", "buildInvocationID"}
_OF_THE_SESSION = {"digestMapping", "layers", "definition"}
"""Digests of steps, which hold the session's id; layers as they lay in the daemon before times were rewritten; LLB in base64."""
_OF_SEVERAL_NODES = {"multi-platform"}
"""A solve of one platform that becomes part of an index says so, in `docker buildx build` too where it uses several nodes."""
_INLINE_CACHE = " config.moby.buildkit.cache.v0"
_DIGESTS = re.compile(r"\.(digest|size)$|\.diff_ids\[\d+\]$")
_OWN_NAME = re.compile(r"parity/(?:buildx|kubectl)/([a-z-]+)@[\w-]+")
"""A repository of one tool, in a package URL. Its tag goes too: what one node of several builds is pushed by digest, and has none."""


def without(document: Any) -> Any:
    """A JSON document without the keys that are of one build."""
    if isinstance(document, dict):
        dropped = _TIMES_AND_IDS | _OF_THE_SESSION | _OF_SEVERAL_NODES
        return {key: without(item) for key, item in document.items() if key not in dropped}
    if isinstance(document, list):
        return [without(item) for item in document]
    return document


def unnamed(lines: Lines) -> dict[str, str]:
    """Lines in which both tools' images have one name."""
    return {name: _OWN_NAME.sub(r"parity/TOOL/\1", line) for name, line in lines.items()}


def timeless(lines: Lines) -> dict[str, str]:
    """Lines without the creation times of Windows layers and of inline cache, which no epoch rewrites, and without digests of them."""
    kept: dict[str, str] = {}
    for name, line in lines.items():
        if name.endswith(_INLINE_CACHE):
            cache = json.loads(base64.b64decode(json.loads(line)))
            kept |= {key: value for key, value in flat(name, cache).items() if not key.endswith(".createdAt")}
        elif not _DIGESTS.search(name):
            kept[name] = re.sub(r"'LIBARCHIVE.creationtime': '[\d.]+'", "", line)
    return kept
