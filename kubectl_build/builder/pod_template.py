"""`--pod-template`: a strategic merge of the user's YAML over the rendered pod, for what no flag says. Pure.

Mappings are merged name by name, and null removes a name. The lists named below are merged item by item: an item of the same key is
merged with the one that is there, or removes it with `$patch: delete`; any other is added. Every other list is replaced. That is kubectl's
own strategic merge for what builders' pods have, but for tolerations, which Kubernetes would replace: ours are kept there.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from kubectl_build.builder.buildkitd_config import CONFIG_DIR
from kubectl_build.builder.names import CONTAINER
from kubectl_build.builder.security import LADDER, rung
from kubectl_build.builder.shape import check_own_names
from kubectl_build.errors import UsageError
from kubectl_build.model.json import JsonObject

_MERGE_KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "tolerations": ("key", "operator", "value", "effect"),
}
_REPLACED = ("env", "volumes")
"""Lists whose items are replaced instead: an item is of one kind (a value or where it comes from), and would be of two."""
_OUR_VOLUMES = {"state": "its kind and size are said with --cache", "config": "the configuration comes from --buildkitd-config"}
_OUR_MOUNTS = {CONFIG_DIR, *(rung(level, "").state_dir for level in LADDER)}
_OURS_OF_CONTAINER = {"args": "give flags of the daemon with --buildkitd-flags", "command": "the image is named with --image"}


def check_template(template: JsonObject) -> None:
    """Raise UsageError for a template that would take the pods away from their builder, or is none."""
    given = {key: value for key, value in template.items() if (key, value) not in (("apiVersion", "v1"), ("kind", "Pod"))}
    unknown = sorted(given.keys() - {"metadata", "spec"})
    if unknown:
        raise _refusal(f'has "{unknown[0]}"', "it has the form of a Pod: metadata.labels, metadata.annotations and spec")
    metadata = _mapping(given.get("metadata") or {}, "metadata")
    unknown = sorted(metadata.keys() - {"labels", "annotations"})
    if unknown:
        raise _refusal(f'has "metadata.{unknown[0]}"', "its metadata has labels and annotations only")
    for kind in ("label", "annotation"):
        values = _mapping(metadata.get(f"{kind}s") or {}, f"metadata.{kind}s")
        if not all(isinstance(value, str) for value in values.values()):
            raise _refusal(f"has a {kind} that is no text", "put its value in quotes")
        check_own_names(kind, values)
    spec = _mapping(given.get("spec") or {}, "spec")
    _check_lists(spec, "spec")
    selector = _mapping(spec.get("nodeSelector") or {}, "spec.nodeSelector")
    if "kubernetes.io/arch" in selector or "kubernetes.io/os" in selector or ("nodeSelector" in spec and spec["nodeSelector"] is None):
        raise _refusal("changes the architecture of the nodes", "each architecture has a pool of its own: see --platform")
    if "hostUsers" in spec:
        raise _refusal('changes "hostUsers"', "whether the pods have a user namespace is said with --security")
    for volume in _items(spec, "volumes"):
        if volume["name"] in _OUR_VOLUMES:
            raise _refusal(f'changes the volume "{volume["name"]}"', _OUR_VOLUMES[volume["name"]])
    for container in _items(spec, "containers"):
        _check_container(container)


def _items(spec: JsonObject, name: str) -> list[JsonObject]:
    """The items of a list that the pod cannot do without."""
    if name in spec and spec[name] is None:
        raise _refusal(f"removes all {name}", "name what is to go, with $patch: delete")
    return list(spec.get(name) or ())


def _check_container(container: JsonObject) -> None:
    if container["name"] != CONTAINER:
        return
    if "$patch" in container:
        raise _refusal(f'removes the container "{CONTAINER}"', "it is the builder")
    for name, hint in _OURS_OF_CONTAINER.items():
        if name in container:
            raise _refusal(f'changes "{name}" of the container "{CONTAINER}"', hint)
    for mount in _items(container, "volumeMounts"):
        if mount["mountPath"].rstrip("/") in _OUR_MOUNTS:
            raise _refusal(f'changes what is mounted at "{mount["mountPath"]}"', "the builder has its state or its configuration there")


def _check_lists(value: object, place: str) -> None:
    """Every list that is merged by a key has items with that key."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            _check_lists(item, f"{place}[{number}]")
    if not isinstance(value, dict):
        return
    for name, item in value.items():
        keys = _MERGE_KEYS.get(name)
        if keys is not None and item is not None:
            if not isinstance(item, list) or not all(isinstance(entry, dict) for entry in item):
                raise _refusal(f'has no list of objects at "{place}.{name}"', "write it as in a Pod")
            if keys[0] != "key" and any(not isinstance(entry.get(keys[0]), str) for entry in item):
                raise _refusal(
                    f'has an item without "{keys[0]}" in "{place}.{name}"', f"items are merged by it; the builder is {CONTAINER!r}"
                )
        _check_lists(item, f"{place}.{name}")


def _mapping(value: object, place: str) -> JsonObject:
    if not isinstance(value, dict):
        raise _refusal(f'has no names and values at "{place}"', "write it as in a Pod")
    return value


def _refusal(problem: str, hint: str) -> UsageError:
    return UsageError(f"the pod template {problem}", hint=hint)


def merge_template(pod: JsonObject, template: JsonObject) -> JsonObject:
    """`pod` (metadata and spec) with `template` over it; neither is changed."""
    merged = _merge_mapping(pod, {name: template[name] for name in ("metadata", "spec") if template.get(name)})
    # The builder's container stays the first, where others look for its image.
    merged["spec"]["containers"].sort(key=lambda container: container["name"] != CONTAINER)
    return merged


def _merge_mapping(base: JsonObject, over: JsonObject) -> JsonObject:
    result = deepcopy(base)
    for name, value in over.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict) and isinstance(result.get(name), dict):
            result[name] = _merge_mapping(result[name], value)
        elif isinstance(value, list) and name in _MERGE_KEYS:
            result[name] = _merge_list(result.get(name) or [], value, _MERGE_KEYS[name], replaced=name in _REPLACED)
        else:
            result[name] = deepcopy(value)
    return result


def _merge_list(base: list[JsonObject], over: list[JsonObject], keys: tuple[str, ...], *, replaced: bool) -> list[JsonObject]:
    result = deepcopy(base)
    for item in over:
        wanted = _key(item, keys)
        position = next((number for number, present in enumerate(result) if _key(present, keys) == wanted), None)
        if item.get("$patch") == "delete":
            if position is not None:
                del result[position]
        elif position is None:
            result.append(deepcopy(item))
        else:
            result[position] = deepcopy(item) if replaced else _merge_mapping(result[position], item)
    return result


def _key(item: JsonObject, keys: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(item.get(key) for key in keys)
