"""`oci-layout://PATH[:TAG][@DIGEST]`: which image of an OCI layout directory is meant.

Rules: docker/buildx util/ocilayout/parse.go and build/opt.go (resolveDigest), BuildKit client/ociindex.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from kubectl_build.errors import UsageError
from kubectl_build.model.digest import is_digest
from kubectl_build.model.inputs import LayoutContext
from kubectl_build.model.json import JsonObject

PREFIX = "oci-layout://"
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)


def open_layout(text: str) -> LayoutContext:
    """Resolve a reference to its digest. A tag that no manifest has means the only manifest of a layout.

    Raises UsageError for a directory that is no layout, and for a tag or digest that names nothing.
    """
    from kubectl_build.layout.index import find_entry, read_index  # few builds name a layout

    path, tag, digest = split_layout(text)
    try:
        index = read_index(path)
    except UsageError as error:
        raise UsageError(f'"{text}": "{path}" is not an OCI layout: {error.message}', hint=error.hint) from error
    digest = digest or _resolve(text, index["manifests"], find_entry(index, tag), tag)
    identity = hashlib.sha256(str(path.absolute()).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return LayoutContext(path=path, digest=digest, id=identity)


def split_layout(text: str) -> tuple[Path, str, str]:
    """Split a reference into directory, tag ("latest" where neither is said) and digest ("" where none is). Raises UsageError."""
    path, tag, digest = text.removeprefix(PREFIX), "", ""
    before, at, after = path.rpartition("@")
    if at and ":" in after:
        if not is_digest(after):
            raise UsageError(f'"{text}": "{after}" is not a digest', hint="write sha256: and 64 hexadecimal digits")
        path, digest = before, after
    before, colon, after = path.rpartition(":")
    if colon and _TAG.fullmatch(after):
        path, tag = before, after
    if not path:
        raise UsageError(f'"{text}" names no directory', hint=f"write {PREFIX}PATH[:TAG]")
    return Path(path), tag or ("" if digest else "latest"), digest


def _resolve(text: str, manifests: Sequence[JsonObject], tagged: JsonObject | None, tag: str) -> str:
    found = tagged or (manifests[0] if len(manifests) == 1 else None)
    if found is None:
        raise UsageError(
            f'oci-layout reference "{text}" could not be resolved: of {len(manifests)} manifests none has the tag "{tag}"',
            hint=f"name one: {PREFIX}PATH:TAG or {PREFIX}PATH@sha256:...",
        )
    digest = found.get("digest")
    if not isinstance(digest, str) or not is_digest(digest):
        raise UsageError(f'oci-layout reference "{text}" could not be resolved: its manifest has no valid digest')
    return digest
