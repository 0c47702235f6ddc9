"""buildkitd.toml: what the user's file says, taken apart for the cluster, and the file that the pods get.

Follows BuildKit v0.31 (cmd/buildkitd/config, util/resolver/config/config.go, util/resolver/resolver.go `loadTLSConfig`).
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

import tomli_w

from kubectl_build.builder.spec import BuilderSpec, ClientFile, RegistrySettings
from kubectl_build.builder.textfile import read_text
from kubectl_build.builder.volume import collection_settings
from kubectl_build.errors import ConfigError, UsageError, system_words
from kubectl_build.values import dataclass

CONFIG_DIR = "/etc/buildkit"
CONFIG_FILE = "buildkitd.toml"
CERTIFICATES_DIR = f"{CONFIG_DIR}/certs"
STATE_DIR = "/var/lib/buildkit"
SOCKET = "unix:///run/buildkit/buildkitd.sock"

ReadFile = Callable[[str], str]
"""Returns the text of a file that the TOML names. Raises KubectlBuildError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildkitdConfig:
    """A buildkitd.toml taken apart: `text` is the TOML without what `registries` says; it names `client_files` by their path in the pod."""

    text: str
    registries: Mapping[str, RegistrySettings] = field(default_factory=dict)
    client_files: Mapping[str, ClientFile] = field(default_factory=dict)


def load_buildkitd_config(path: Path) -> BuildkitdConfig:
    """Read the user's file and every certificate and key that it names, relative ones from the current directory.

    Raises UsageError for a file that is not there or cannot be read, ConfigError for one that is malformed.
    """
    text = read_text(str(path), "buildkitd configuration")
    return parse_buildkitd_config(text, source=f'"{path}"', read=lambda name: read_text(name, f'file, named in "{path}",'))


def load_authorities(paths: Sequence[str]) -> str:
    """The certificates in files, as one PEM text. Raises UsageError for a file that cannot be read, ConfigError for one without any."""
    return "".join(_certificates(path, lambda name: read_text(name, "certificate file")) for path in paths)


def parse_buildkitd_config(text: str, *, source: str, read: ReadFile | None = None) -> BuildkitdConfig:
    """Take a buildkitd.toml apart. `source` names it in errors.

    With `read`, the certificates and keys that it names are read and get new paths; without, they are files of the pod and stay.
    Raises ConfigError, and what `read` raises.
    """
    document = _document(text, source)
    _refuse_what_breaks_the_pod(document, source)
    _leave_to_the_daemon(document)
    _table(_table(document.get("worker", {}), "worker", source).get("oci", {}), "worker.oci", source)
    _texts(document.get("insecure-entitlements", []), "insecure-entitlements", source)
    registries: dict[str, RegistrySettings] = {}
    files: dict[str, ClientFile] = {}
    tables = _table(document.get("registry", {}), "registry", source)
    for host, value in list(tables.items()):
        table = _table(value, f"registry.{host}", source)
        registries[host] = _take_settings(table, host, source, read, files)
        if not table:
            del tables[host]
    if not tables:
        document.pop("registry", None)
    return BuildkitdConfig(text=tomli_w.dumps(document), registries=registries, client_files=files)


def _document(text: str, source: str) -> dict[str, Any]:
    try:
        document = tomllib.loads(text)
        tomli_w.dumps(document)  # what can be read can be nested too deep to be written
    except ValueError as exc:
        raise ConfigError(f"{source} is not TOML: {exc}") from exc
    except RecursionError as exc:
        raise ConfigError(f"{source} is nested too deep") from exc
    return document


def _refuse_what_breaks_the_pod(document: dict[str, Any], source: str) -> None:
    root = document.get("root", STATE_DIR)
    if root != STATE_DIR:
        raise ConfigError(f'{source} sets root = "{root}": a builder keeps its state in the volume at {STATE_DIR}', hint='leave out "root"')
    grpc = document.get("grpc")
    addresses = grpc.get("address", [SOCKET]) if isinstance(grpc, dict) else [SOCKET]
    if SOCKET not in addresses:
        raise ConfigError(f"{source} sets grpc.address without {SOCKET}, where the builder is spoken to", hint='leave out "address"')


def _leave_to_the_daemon(document: dict[str, Any]) -> None:
    """Remove the places that the file names though the daemon knows them by itself: a rootless one has others."""
    document.pop("root", None)
    grpc = document.get("grpc")
    if isinstance(grpc, dict) and grpc.get("address") == [SOCKET]:
        del grpc["address"]


def _table(value: object, name: str, source: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f'{source} is not valid: "{name}" must be a table')
    return value


def _take_settings(table: dict[str, Any], host: str, source: str, read: ReadFile | None, files: dict[str, ClientFile]) -> RegistrySettings:
    """Remove from `table` what RegistrySettings can say, and give its key pairs the paths they have in the pod."""
    if read is not None:
        _expand_directories(table, host, source)
    mirrors = _texts(table.pop("mirrors", []), f"registry.{host}.mirrors", source)
    http = _flag(table.pop("http", None), f"registry.{host}.http", source)
    insecure = _flag(table.pop("insecure", None), f"registry.{host}.insecure", source)
    ca = ""
    if read is not None:
        paths = _texts(table.pop("ca", []), f"registry.{host}.ca", source)
        ca = "".join(_certificates(path, read) for path in paths)
        _take_key_pairs(table, host, source, read, files)
    return RegistrySettings(ca=ca, mirrors=mirrors, http=http, insecure=insecure)


def _expand_directories(table: dict[str, Any], host: str, source: str) -> None:
    """Replace tlsconfigdir by what BuildKit finds in it: *.crt are authorities, *.cert with *.key are key pairs."""
    for name in _texts(table.pop("tlsconfigdir", []), f"registry.{host}.tlsconfigdir", source):
        try:
            entries = sorted(Path(name).iterdir())
        except OSError as exc:
            raise UsageError(f'directory "{name}", named in {source}, cannot be read: {system_words(exc)}') from exc
        table.setdefault("ca", []).extend(str(entry) for entry in entries if entry.suffix == ".crt")
        pairs = [{"cert": str(entry), "key": str(entry.with_suffix(".key"))} for entry in entries if entry.suffix == ".cert"]
        if pairs:
            table.setdefault("keypair", []).extend(pairs)


def _certificates(path: str, read: ReadFile) -> str:
    text = read(path)
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise ConfigError(f'certificate file "{path}" has no PEM certificate')
    return text if text.endswith("\n") else text + "\n"


def _take_key_pairs(table: dict[str, Any], host: str, source: str, read: ReadFile, files: dict[str, ClientFile]) -> None:
    pairs = table.get("keypair", [])
    if not isinstance(pairs, list):
        raise ConfigError(f'{source} is not valid: "registry.{host}.keypair" must be an array of tables')
    for number, value in enumerate(pairs):
        pair = _table(value, f"registry.{host}.keypair", source)
        for kind in ("cert", "key"):
            path = pair.get(kind)
            if not isinstance(path, str):
                raise ConfigError(f'{source} is not valid: "registry.{host}.keypair" needs the path "{kind}"')
            name = f"{file_stem(host)}-{number}.{kind}"
            files[name] = ClientFile.of(read(path))
            pair[kind] = f"{CERTIFICATES_DIR}/{name}"


def _texts(value: object, name: str, source: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f'{source} is not valid: "{name}" must be an array of strings')
    return tuple(value)


def _flag(value: object, name: str, source: str) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise ConfigError(f'{source} is not valid: "{name}" must be true or false')
    return value


def file_stem(host: str) -> str:
    """A file name for `host` that a Secret may have as a key; two hosts never share one."""
    if re.fullmatch(r"[A-Za-z0-9.-]+(:[0-9]+)?", host):
        return host.replace(":", "_")
    return re.sub(r"[^A-Za-z0-9.-]", "_", host) + "_" + hashlib.sha256(host.encode()).hexdigest()[:8]


def ca_file(host: str) -> str:
    """The name, in the builder's Secret, of the authorities of `host`."""
    return f"{file_stem(host)}.ca.pem"


def render_buildkitd_config(spec: BuilderSpec) -> str:
    """The buildkitd.toml of the pods: the user's, with `spec.registries` put in and authorities named by their path in the pod.

    Entitlements are those of both; garbage collection goes by the volume's size where the user's says nothing.
    """
    document = tomllib.loads(spec.buildkitd_config)
    if spec.allow:
        document["insecure-entitlements"] = list(dict.fromkeys([*document.get("insecure-entitlements", []), *spec.allow]))
    oci = document.get("worker", {}).get("oci", {})
    collection = collection_settings(spec.cache, oci)
    if collection:
        document.setdefault("worker", {})["oci"] = {**oci, **collection}
    tables = document.setdefault("registry", {})
    for host, settings in sorted(spec.registries.items()):
        table = tables.setdefault(host, {})
        if settings.mirrors:
            table["mirrors"] = list(settings.mirrors)
        if settings.http is not None:
            table["http"] = settings.http
        if settings.insecure is not None:
            table["insecure"] = settings.insecure
        if settings.ca:
            table["ca"] = [*table.get("ca", []), f"{CERTIFICATES_DIR}/{ca_file(host)}"]
    if not tables:
        del document["registry"]
    return tomli_w.dumps(document)


def secret_files(spec: BuilderSpec) -> tuple[str, ...]:
    """The names of the files that the builder's Secret has; empty when it needs none."""
    return tuple(sorted([*(ca_file(host) for host, settings in spec.registries.items() if settings.ca), *spec.client_files]))


def read_settings(text: str, read: ReadFile) -> dict[str, RegistrySettings]:
    """The registry settings of a pod's own buildkitd.toml, for a user who may not read the builder's ConfigMap.

    `read` returns the pod's files. Raises ConfigError and what `read` raises.
    """
    source = "buildkitd.toml of the pod"
    result: dict[str, RegistrySettings] = {}
    for host, value in _table(_document(text, source).get("registry", {}), "registry", source).items():
        found = _table(value, f"registry.{host}", source)
        table: dict[str, Any] = {key: found[key] for key in ("mirrors", "http", "insecure", "ca") if key in found}
        result[host] = _take_settings(table, host, source, read, {})
    return result


def authority_files(text: str) -> tuple[str, ...]:
    """The paths of the authorities that a pod's buildkitd.toml names. Raises ConfigError."""
    source = "buildkitd.toml of the pod"
    tables = _table(_document(text, source).get("registry", {}), "registry", source).values()
    return tuple(sorted({path for table in tables for path in _texts(_table(table, "registry", source).get("ca", []), "ca", source)}))
