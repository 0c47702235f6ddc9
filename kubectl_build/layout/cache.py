"""Caches in directories of this machine: --cache-from and --cache-to with type=local (moby/buildkit, client/solve.go, parseCacheOptions).

The daemon reads and writes blobs by digest; that index.json gives a digest a tag is the client's part, before and after a solve.
Everything here blocks.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from kubectl_build.errors import KubectlBuildError, ProtocolError, UsageError, system_words
from kubectl_build.layout.index import find_entry, put_entry, read_index, tag_name
from kubectl_build.layout.store import LayoutStore, check_place
from kubectl_build.model.digest import IMAGE_TYPES, INDEX_TYPES, is_digest
from kubectl_build.model.gobool import parse_bool
from kubectl_build.model.json import JsonObject, parse_json
from kubectl_build.model.request import CacheEntry
from kubectl_build.values import dataclass

CACHE_MANIFEST: Final = "cache.manifest"
"""The key of an exporter response that has the descriptor of the cache, as JSON."""

_LOCAL = "local"
_MANIFEST_LIMIT = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCaches:
    """Cache entries as a daemon is to get them, those of other types as they were, and the `stores` that it will ask for, by their ids.

    `skipped` says in words which imports are left out because there is nothing to import yet.
    """

    imports: tuple[CacheEntry, ...]
    exports: tuple[CacheEntry, ...]
    stores: Mapping[str, LayoutStore]
    skipped: tuple[str, ...]


def open_local_caches(imports: Sequence[CacheEntry], exports: Sequence[CacheEntry]) -> LocalCaches:
    """Find the digests that the local `imports` stand for, and see that the directories of the local `exports` can be made.

    A directory, tag or blob that is missing leaves an import out, as in a first build. Raises UsageError for an entry without its directory
    and for a directory that cannot be made.
    """
    stores: dict[str, LayoutStore] = {}
    skipped: list[str] = []
    found = tuple(_importable(imports, stores, skipped))
    return LocalCaches(imports=found, exports=tuple(_exportable(exports, stores)), stores=stores, skipped=tuple(skipped))


def record_local_caches(exports: Sequence[CacheEntry], response: Mapping[str, str]) -> None:
    """Give the cache that a solve with `exports` wrote its tag in each local one's index.json. `exports` are those of the request.

    Nothing is recorded where the daemon had nothing to export. Raises UsageError, ProtocolError.
    """
    text = response.get(CACHE_MANIFEST)
    if not text:
        return
    try:
        descriptor: JsonObject = parse_json(text)
        digest = descriptor["digest"]
    except (ValueError, KeyError, TypeError) as exc:
        raise ProtocolError(f"the builder answered no descriptor for the cache but {text[:100]!r}") from exc
    for entry in _local(exports):
        path = Path(_directory(entry, "dest"))
        # Of several exports the response has one; a cache with other options has another manifest.
        if is_digest(digest) and LayoutStore(path).info(digest):
            put_entry(path, descriptor, [tag_name(entry.attrs.get("tag", "latest"))])


def reset_local_caches(exports: Sequence[CacheEntry], *, before: float) -> None:
    """Remove what no tag leads to any more from the local `exports` that say `reset=true`, once all solves of a build have recorded theirs.

    Blobs that were written, or met again, since `before` (seconds since 1970, the build's begin) stay: another build that runs may be
    about to give them a tag. Raises UsageError.
    """
    for entry in _local(exports):
        if _true(entry, "reset"):
            path = Path(_directory(entry, "dest"))
            store = LayoutStore(path)
            kept = reachable(store, read_index(path)["manifests"])
            for blob in store.blobs():
                if blob.digest not in kept and blob.modified < before:
                    store.delete(blob.digest)


def reachable(store: LayoutStore, descriptors: Iterable[JsonObject]) -> set[str]:
    """The digests of `descriptors` and of all that they lead to within `store`. Raises UsageError for a manifest that cannot be read."""
    found: set[str] = set()
    pending = list(descriptors)
    while pending:
        descriptor = pending.pop()
        digest = str(descriptor.get("digest"))
        if digest in found:
            continue
        found.add(digest)
        if descriptor.get("mediaType") in (*INDEX_TYPES, *IMAGE_TYPES) and is_digest(digest) and store.info(digest):
            pending += children(store.read(digest, 0, _MANIFEST_LIMIT), digest)
    return found


def children(manifest: bytes, digest: str) -> list[JsonObject]:
    """The descriptors in a manifest or index, whose digest is for the words of an error. Raises UsageError."""
    try:
        document = parse_json(manifest)
        found = [*document.get("manifests", ()), *document.get("layers", ()), *([document["config"]] if "config" in document else ())]
        if all(isinstance(child, dict) for child in found):
            return found
    except (ValueError, AttributeError, TypeError):
        pass
    raise UsageError(f"blob {digest} of an OCI layout is not a manifest")


def _importable(imports: Sequence[CacheEntry], stores: dict[str, LayoutStore], skipped: list[str]) -> Iterator[CacheEntry]:
    for entry in imports:
        if entry.type != _LOCAL:
            yield entry
            continue
        path = _directory(entry, "src")
        store = LayoutStore(path, read_only=True)
        try:
            digest = entry.attrs.get("digest") or _tagged(Path(path), entry)
            if not is_digest(digest):
                raise UsageError(f'"{digest}" is not a digest')
            if store.info(digest) is None:
                raise UsageError(f"it does not have {digest}")
        except KubectlBuildError as error:
            skipped.append(f'nothing is imported from the local cache "{path}": {error.message}')
            continue
        name = _store_name(path)
        stores[f"local:{name}"] = store
        yield replace(entry, attrs={**entry.attrs, "src": name, "digest": digest})


def _exportable(exports: Sequence[CacheEntry], stores: dict[str, LayoutStore]) -> Iterator[CacheEntry]:
    for entry in exports:
        if entry.type != _LOCAL:
            yield entry
            continue
        path = _directory(entry, "dest")
        try:
            check_place(Path(path))
        except OSError as exc:
            raise UsageError(f'local cache "{path}" cannot be made: {system_words(exc)}') from exc
        _true(entry, "reset")
        name = _store_name(path)
        stores[f"local:{name}"] = LayoutStore(path)  # also in place of the one that imports from there
        yield replace(entry, attrs={**entry.attrs, "dest": name})


def _tagged(path: Path, entry: CacheEntry) -> str:
    tag = entry.attrs.get("tag", "latest")
    found = find_entry(read_index(path), tag)
    if found is None:
        raise UsageError(f'it has no tag "{tag}"')
    return str(found.get("digest"))


def _local(entries: Sequence[CacheEntry]) -> Iterator[CacheEntry]:
    return (entry for entry in entries if entry.type == _LOCAL)


def _directory(entry: CacheEntry, attribute: str) -> str:
    path = entry.attrs.get(attribute, "")
    if not path:
        raise UsageError(f"a local cache needs {attribute}=DIRECTORY")
    return path


def _true(entry: CacheEntry, attribute: str) -> bool:
    text = entry.attrs.get(attribute, "false")
    said = parse_bool(text)
    if said is not None:
        return said
    raise UsageError(f'{attribute}={text} of the local cache "{entry.attrs.get("dest", "")}" is neither true nor false')


def _store_name(path: str) -> str:
    """What the daemon calls the directory: its path, but it takes only printable ASCII in the header in which it sends the name."""
    return path if path.isascii() and path.isprintable() else urllib.parse.quote(path)
