"""YAML files that people give: one mapping, or the objects of a whole builder as `create --dry-run -o yaml` prints them."""

from __future__ import annotations

import base64
import binascii
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from kubectl_build.builder import names
from kubectl_build.builder.reader import Reader
from kubectl_build.builder.spec import ClientFile, SpecChange
from kubectl_build.builder.spec_yaml import KEY, parse_spec
from kubectl_build.builder.textfile import read_text
from kubectl_build.errors import ConfigError
from kubectl_build.model.json import JsonObject
from kubectl_build.values import dataclass

_IGNORED = ("NetworkPolicy", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
"""Kinds that are printed with a builder and follow from its spec, or are for an admin to apply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderFile:
    """A builder as a file says it: `change` is its whole spec, `architectures` are its pools. `namespace` "" is not said."""

    name: str
    namespace: str = ""
    change: SpecChange
    architectures: tuple[str, ...] = ()


def load_mapping(path: Path, what: str) -> JsonObject:
    """The one YAML document in a file. `what` names it in errors. Raises UsageError for a file that cannot be read, ConfigError."""
    documents = _documents(read_text(str(path), what), f'{what} "{path}"')
    if len(documents) != 1:
        raise ConfigError(f'{what} "{path}" has {len(documents)} YAML documents: it must be one')
    return documents[0]


def load_builder(file: str) -> BuilderFile:
    """The builder in a file, or with "-" on stdin. Raises UsageError for one that cannot be read, ConfigError for one that is malformed."""
    text = sys.stdin.read() if file == "-" else read_text(file, "file")
    source = "stdin" if file == "-" else f'"{file}"'
    reader = Reader(source)
    listed = [item for document in _documents(text, source) for item in _items(reader, document)]
    by_kind: dict[str, list[JsonObject]] = {"ConfigMap": [], "Secret": [], "StatefulSet": []}
    for item in listed:
        kind = reader.text("kind", item.get("kind"))
        if kind in by_kind:
            by_kind[kind].append(item)
        elif kind not in _IGNORED:
            raise reader.error(f"it has a {kind}, which no builder has", hint="kubectl apply makes other objects")
    if len(by_kind["ConfigMap"]) != 1:
        raise reader.error(f"it has {len(by_kind['ConfigMap'])} ConfigMaps, and a builder has one", hint="one file for each builder")
    return _builder(reader, source, by_kind["ConfigMap"][0], by_kind["Secret"], by_kind["StatefulSet"])


def _builder(reader: Reader, source: str, config_map: JsonObject, secrets: Sequence[JsonObject], sets: Sequence[JsonObject]) -> BuilderFile:
    name = _name(reader, config_map)
    data = reader.mapping("data", config_map.get("data"))
    change = parse_spec(reader.any_text(f"data.{KEY}", data.get(KEY)), source=f'ConfigMap "{name}" in {source}', recorded=True)
    contents: dict[str, str] = {}
    for secret in secrets:
        if _name(reader, secret) != names.certificates_name(name):
            raise reader.error(f'it has the Secret "{_name(reader, secret)}", which is not the builder\'s')
        contents.update(_contents(reader, secret))
    if change.client_files:
        files = {file: ClientFile.of(contents[file]) if file in contents else known for file, known in change.client_files.items()}
        lacking = [file for file, value in files.items() if value.content is None]
        if lacking:
            raise reader.error(f'it has no content for "{lacking[0]}"', hint=f"the Secret {names.certificates_name(name)} belongs to it")
        change = replace(change, client_files=files)
    labels = [reader.mapping("metadata.labels", item["metadata"].get("labels")) for item in sets if _name(reader, item)]
    pools = tuple(reader.text(names.LABEL_ARCHITECTURE, found.get(names.LABEL_ARCHITECTURE)) for found in labels)
    namespace = reader.any_text("metadata.namespace", config_map["metadata"].get("namespace") or "")
    return BuilderFile(name=name, namespace=namespace, change=change, architectures=pools)


def _contents(reader: Reader, secret: JsonObject) -> dict[str, str]:
    contents = dict(reader.pairs("stringData", secret.get("stringData") or {}))
    for file, value in reader.pairs("data", secret.get("data") or {}).items():
        try:
            contents[file] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as exc:
            raise reader.error(f'"{file}" in the Secret is not base64 of text') from exc
    return contents


def _name(reader: Reader, item: JsonObject) -> str:
    return reader.text("metadata.name", reader.mapping("metadata", item.get("metadata")).get("name"))


def _items(reader: Reader, document: JsonObject) -> list[JsonObject]:
    return list(reader.trees("items", document.get("items"))) if document.get("kind") == "List" else [document]


def _documents(text: str, source: str) -> list[JsonObject]:
    try:
        found = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as exc:
        raise ConfigError(f"{source} is not YAML: {' '.join(str(exc).split())}") from exc
    return [Reader(source).tree("document", document) for document in found]
