"""Where a build's cache comes from and goes to, over one pool or several (pure). docs/decisions/0004-cache-over-pools.md has the reasons.

Backends and their attributes: moby/buildkit v0.31.2 cache/remotecache; client/solve.go (parseCacheOptions).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from kubectl_build.errors import UsageError
from kubectl_build.model.gobool import parse_bool
from kubectl_build.model.reference import parse_reference
from kubectl_build.model.request import BuildRequest, CacheEntry

_MAX_TAG = 128


def cache_imports(request: BuildRequest, pools: Sequence[str] = ()) -> tuple[CacheEntry, ...]:
    """What every pool of a build over `pools` imports: what the user named and, where there are several pools, each one's place of it.

    Of `local` entries the digest is still to be found; those without one are to be left out.
    """
    entries = list(request.cache_from)
    if len(pools) > 1:
        entries = [each for entry in entries for each in (entry, *(_place(entry, pool) for pool in pools))]
    return tuple(entry for number, entry in enumerate(entries) if entry not in entries[:number])


def cache_exports(request: BuildRequest, pool: str = "", pools: Sequence[str] = ()) -> tuple[CacheEntry, ...]:
    """Where `pool`, one of `pools`, exports to: with several pools each to its own place, so that none overwrites another's.

    The build argument BUILDKIT_INLINE_CACHE asks for an inline export, as buildx reads it.
    """
    entries = list(request.cache_to)
    if parse_bool(request.build_args.get("BUILDKIT_INLINE_CACHE", "")) and all(entry.type != "inline" for entry in entries):
        entries.append(CacheEntry(type="inline"))
    return tuple(_place(entry, pool) if len(pools) > 1 else entry for entry in entries)


def cache_imports_attr(entries: Iterable[CacheEntry]) -> str:
    """The value of the frontend's attribute `cache-imports`: the frontend imports for the steps that it asks for."""
    return json.dumps(
        [{"Type": entry.type, **({"Attrs": dict(sorted(entry.attrs.items()))} if entry.attrs else {})} for entry in entries],
        separators=(",", ":"),
        ensure_ascii=False,
    )


def _place(entry: CacheEntry, pool: str) -> CacheEntry:
    """The place of `pool` within `entry`: one more word in its name. What a digest names or lies in the image has one place only."""
    attrs = dict(entry.attrs)
    match entry.type:
        case "registry":
            attrs["ref"] = _own_reference(attrs.get("ref", ""), pool)
        case "local" if not attrs.get("digest"):
            attrs["tag"] = _own_tag(attrs.get("tag") or "latest", pool)
        case "gha":
            attrs["scope"] = f"{attrs.get('scope', 'buildkit')}-{pool}"
        case "s3" | "azblob":
            attrs["name"] = ";".join(f"{name}-{pool}" for name in attrs.get("name", "buildkit").split(";"))
        case _:
            return entry
    return replace(entry, attrs=attrs)


def _own_reference(text: str, pool: str) -> str:
    """`text` with the pool in its tag; as it is when it has a digest, or is no reference, which the daemon will say."""
    try:
        reference = parse_reference(text)
    except UsageError:
        return text
    if reference.digest:
        return text
    return str(replace(reference, tag=_own_tag(reference.tag, pool)))


def _own_tag(tag: str, pool: str) -> str:
    """A longer tag than registries take is cut: two that then are one share a place in the cache, which costs time only."""
    return f"{tag[: _MAX_TAG - len(pool) - 1]}-{pool}"
