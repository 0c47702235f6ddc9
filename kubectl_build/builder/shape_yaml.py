"""The part of `builder.yaml` that is about pods and their volume: PodShape and CacheVolume as YAML values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kubectl_build.builder.amounts import format_seconds
from kubectl_build.builder.pod_template import check_template
from kubectl_build.builder.reader import Reader
from kubectl_build.builder.shape import PodShape
from kubectl_build.builder.volume import CacheVolume, parse_cache
from kubectl_build.errors import UsageError
from kubectl_build.model.json import JsonObject


def _template(reader: Reader, name: str, value: object) -> JsonObject:
    template = reader.tree(name, value)
    try:
        check_template(template)
    except UsageError as exc:
        raise reader.refused(exc) from exc
    return template


_SHAPE_FIELDS: Mapping[str, tuple[str, Callable[[Reader, str, object], Any]]] = {
    "nodeSelector": ("node_selector", Reader.pairs),
    "tolerations": ("tolerations", Reader.trees),
    "affinity": ("affinity", Reader.tree),
    "spread": ("spread", Reader.texts),
    "priorityClass": ("priority_class", Reader.text),
    "serviceAccount": ("service_account", Reader.text),
    "imagePullSecrets": ("image_pull_secrets", Reader.texts),
    "runtimeClass": ("runtime_class", Reader.text),
    "schedulerName": ("scheduler_name", Reader.text),
    "annotations": ("annotations", Reader.pairs),
    "labels": ("labels", Reader.pairs),
    "hostNetwork": ("host_network", Reader.flag),
    "gracePeriod": ("grace_seconds", Reader.seconds),
    "podTemplate": ("template", _template),
}
SHAPE_NAMES = tuple(_SHAPE_FIELDS)
"""The names in `builder.yaml` that `read_shape` reads."""


def read_shape(reader: Reader, values: JsonObject) -> PodShape:
    """What `values`, a whole `builder.yaml`, says about pods. Raises ConfigError."""
    said = {}
    for name, (attribute, read) in _SHAPE_FIELDS.items():
        if values.get(name) is not None:
            said[attribute] = read(reader, name, values[name])
    try:
        return PodShape(**said)
    except UsageError as exc:
        raise reader.refused(exc) from exc


def dump_shape(shape: PodShape) -> JsonObject:
    """What `read_shape` reads as `shape`; what was not said is left out."""
    document: JsonObject = {}
    for name, (attribute, _) in _SHAPE_FIELDS.items():
        value = getattr(shape, attribute)
        if attribute == "grace_seconds":
            value = None if value is None else format_seconds(value)
        if value or value is False:
            document[name] = dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple) else value
    return document


def read_cache(reader: Reader, name: str, value: object) -> CacheVolume:
    """The volume: `{type: pvc, size: 20Gi, class: fast, keep: true}`, or as --cache has it. Raises ConfigError."""
    try:
        if isinstance(value, str):
            return parse_cache(value)
        values = reader.mapping(name, value)
        unknown = sorted(values.keys() - {"type", "size", "class", "keep"})
        if unknown:
            raise reader.error(f'the name "{unknown[0]}" in "{name}" is not known', hint="known names: class, keep, size, type")
        return CacheVolume(
            kind=reader.text(f"{name}.type", values.get("type", "emptydir")),
            size=reader.text_or_number(f"{name}.size", values.get("size", "")),
            storage_class=reader.any_text(f"{name}.class", values.get("class", "")),
            keep=reader.flag(f"{name}.keep", values.get("keep", False)),
        )
    except UsageError as exc:
        raise reader.refused(exc) from exc


def dump_cache(cache: CacheVolume) -> JsonObject:
    """What `read_cache` reads as `cache`."""
    values = {"type": cache.kind, "size": cache.size, "class": cache.storage_class, "keep": cache.keep}
    return {name: value for name, value in values.items() if value}
