"""The volume with a builder's state: what it may be, how the pod gets it, and how much of it the build cache may take. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from kubectl_build.builder.amounts import parse_quantity
from kubectl_build.errors import UsageError
from kubectl_build.model.json import JsonObject
from kubectl_build.values import dataclass

VOLUME = "state"
"""The volume's name in the pod; a claim is then called state-<pod>."""

_KINDS = ("emptydir", "memory", "pvc")
_MIB = 1024 * 1024
_MIN_BYTES = 64 * _MIB
_COLLECTION_FIELDS = {"gc", "gcpolicy", "gckeepstorage", "reservedSpace", "maxUsedSpace", "minFreeSpace"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheVolume:
    """A builder's state volume: `kind` is emptydir (the node's disk), memory or pvc (a claim for each pod).

    `keep` leaves the claims when the builder is removed; a builder of the same name finds them again.
    """

    kind: str = "emptydir"
    size: str = ""
    storage_class: str = ""
    keep: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError for a combination that cannot be."""
        if self.kind not in _KINDS:
            raise UsageError(f'cache "{self.kind}" is not known', hint="use one of: " + ", ".join(_KINDS))
        if self.size and parse_quantity(self.size, what="size of the cache") < _MIN_BYTES:
            raise UsageError(f'size of the cache "{self.size}" is not enough for any build', hint="for example 20Gi")
        if not self.size and self.kind != "emptydir":
            raise UsageError(f'cache "{self.kind}" needs a size', hint=f"for example --cache {self.kind},size=20Gi")
        if self.kind != "pvc" and (self.storage_class or self.keep):
            raise UsageError(f'cache "{self.kind}" has no class and cannot be kept', hint="only --cache pvc has these")

    def __str__(self) -> str:
        words = [self.kind, f"size={self.size}" if self.size else "", f"class={self.storage_class}" if self.storage_class else ""]
        return ",".join(filter(None, [*words, "keep=true" if self.keep else ""]))

    @property
    def size_bytes(self) -> int | None:
        """Its size, None where the node's disk is the only limit."""
        return int(parse_quantity(self.size, what="size of the cache")) if self.size else None

    @property
    def outlives_pods(self) -> bool:
        """Whether the cache is still there when a pod has been deleted and made anew."""
        return self.kind == "pvc"


def parse_cache(text: str) -> CacheVolume:
    """Read `emptydir[,size=]`, `memory,size=` or `pvc,size=[,class=][,keep=true]`. Raises UsageError."""
    kind, *options = text.split(",")
    values: dict[str, Any] = {}
    for option in options:
        key, _, value = option.partition("=")
        if key == "keep" and value in ("true", "false", ""):
            values["keep"] = value != "false"
        elif key in ("size", "class") and value:
            values["storage_class" if key == "class" else "size"] = value
        else:
            raise UsageError(
                f'"{option}" of --cache "{text}" is not known', hint="--cache emptydir|memory|pvc[,size=20Gi][,class=NAME][,keep=true]"
            )
    return CacheVolume(kind=kind.lower(), **values)


def pod_volume(cache: CacheVolume) -> JsonObject | None:
    """The pod's volume; None when the StatefulSet's claim template gives it."""
    if cache.kind == "pvc":
        return None
    source: JsonObject = {"medium": "Memory"} if cache.kind == "memory" else {}
    if cache.size:
        source["sizeLimit"] = cache.size
    return {"name": VOLUME, "emptyDir": source}


def claim_fields(cache: CacheVolume, labels: Mapping[str, str]) -> JsonObject:
    """The part of the StatefulSet's spec that makes a claim for each pod and says what becomes of it; empty without claims."""
    if cache.kind != "pvc":
        return {}
    spec: JsonObject = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": cache.size}}}
    if cache.storage_class:
        spec["storageClassName"] = cache.storage_class
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": VOLUME, "labels": dict(labels)}, "spec": spec}
    return {
        "volumeClaimTemplates": [claim],
        # A stopped builder keeps its cache; a removed one only when asked to.
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain" if cache.keep else "Delete", "whenScaled": "Retain"},
    }


def claims_of(stateful_set: JsonObject) -> tuple[tuple[str, Decimal, str | None], ...]:
    """The name, size and class of the claims that a StatefulSet makes, for comparing."""
    found = []
    for claim in stateful_set["spec"].get("volumeClaimTemplates") or ():
        size = parse_quantity(claim["spec"]["resources"]["requests"]["storage"], what="size of the claim")
        found.append((claim["metadata"]["name"], size, claim["spec"].get("storageClassName")))
    return tuple(found)


def collection_settings(cache: CacheVolume, worker: Mapping[str, Any]) -> dict[str, str]:
    """Garbage collection for [worker.oci] by the volume's size; empty when `worker`, the user's table, has its own, or there is no size.

    By itself BuildKit goes by the size of the disk beneath, which is the node's, not the volume's: pods would be evicted for a full
    emptyDir. A quarter is left for what a build adds before the cache is collected.
    """
    size = cache.size_bytes
    if size is None or worker.keys() & _COLLECTION_FIELDS:
        return {}
    return {"reservedSpace": f"{size // 10 // _MIB}MB", "maxUsedSpace": f"{size * 3 // 4 // _MIB}MB"}
