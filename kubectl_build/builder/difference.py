"""How a builder's spec differs from what it was, in words for whoever changed it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kubectl_build.builder.spec import DEFAULT_IMAGE, BuilderSpec
from kubectl_build.builder.spec_yaml import spec_document
from kubectl_build.model.json import JsonObject

_ONE_BY_ONE = ("resources", "requests", "limits", "env", "nodeSelector", "annotations", "labels", "registries")
"""Mappings whose values are compared each for itself; everything else is compared whole."""
_NAMES_ONLY = ("env", "annotations", "affinity", "tolerations", "podTemplate", "registries", "buildkitdConfig", "clientFiles")
"""Of these no values are told: they may be long, or nobody's business."""
_ROOM = 120
"""Both values together are told up to this many characters."""
_OWN_IMAGE = DEFAULT_IMAGE.partition(":")[0] + ":"

Path = tuple[str, ...]


def change_in_words(before: BuilderSpec, after: BuilderSpec) -> tuple[str, ...]:
    """What `after` has changed, and what else of it is no default of ours and as it was; nothing when the two are alike.

    Names are those of `builder.yaml`.
    """
    old, new = spec_document(before), spec_document(after)
    paths = dict.fromkeys([*_paths(old), *_paths(new)])
    changed = [_difference(path, _at(old, path), _at(new, path)) for path in paths if _at(old, path) != _at(new, path)]
    if not changed:
        return ()
    said = ["changed: " + ", ".join(changed)]
    usual = spec_document(BuilderSpec())
    kept = [name for name, value in new.items() if old.get(name) == value and usual.get(name) != value]
    if kept:
        said.append(f"as before: {', '.join(kept)} (--reset NAME takes one back to the defaults)")
    if before.image == after.image != DEFAULT_IMAGE and after.image.startswith(_OWN_IMAGE):
        said.append(f"the image stays {after.image}; this version's own is {DEFAULT_IMAGE}: --reset image")
    return tuple(said)


def _paths(document: JsonObject, above: Path = ()) -> Iterable[Path]:
    for name, value in document.items():
        inner = len(above) < 2 and name in _ONE_BY_ONE and isinstance(value, dict)
        yield from _paths(value, (*above, name)) if inner else [(*above, name)]


def _at(document: JsonObject, path: Path) -> object:
    value: object = document
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _difference(path: Path, before: object, after: object) -> str:
    name, was, now = ".".join(path), _text(before), _text(after)
    return name if path[0] in _NAMES_ONLY or len(was) + len(now) > _ROOM else f"{name} {was} -> {now}"


def _text(value: object) -> str:
    if value is None:
        return "unset"
    if isinstance(value, dict):
        return ",".join(f"{name}={item}" for name, item in value.items())
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
