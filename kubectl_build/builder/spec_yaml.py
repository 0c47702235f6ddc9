"""`builder.yaml`: a builder's spec as text, in the builder's own ConfigMap and in `kubectl-build-defaults`.

Its names are those of `create`'s flags in camelCase. An unknown name or a value of the wrong kind is a ConfigError that quotes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from kubectl_build.builder.amounts import format_seconds, parse_quantity
from kubectl_build.builder.buildkitd_config import parse_buildkitd_config
from kubectl_build.builder.daemon_flags import check_daemon_flags
from kubectl_build.builder.reader import Reader, quote
from kubectl_build.builder.security import SECURITY_LEVELS
from kubectl_build.builder.shape_yaml import SHAPE_NAMES, dump_cache, dump_shape, read_cache, read_shape
from kubectl_build.builder.spec import BuilderSpec, ClientFile, RegistrySettings, SpecChange, check_entitlement
from kubectl_build.builder.volume import CacheVolume
from kubectl_build.errors import ConfigError, UsageError
from kubectl_build.model.json import JsonObject
from kubectl_build.model.platform import Platform, parse_platforms

KEY = "builder.yaml"
"""The data key of the ConfigMaps."""

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


_MOST_MARKS = 300
"""So many marks that begin something nested are read by libyaml: it takes a tenth of the time, and crashes where nesting has no end."""


def parse_spec(text: str, *, source: str, recorded: bool = False) -> SpecChange:
    """Read a `builder.yaml`. `source` names it in errors, for example 'ConfigMap "kubectl-build-defaults" in namespace "kube-public"'.

    `recorded` is for the builder's own, which also lists its client files. Raises ConfigError.
    """
    reader = _Reader(f"{KEY} of {source}")
    try:
        document = yaml.load(text, Loader=_loader(text))
    except (yaml.YAMLError, ValueError) as exc:  # a ValueError comes from a date that is none
        raise ConfigError(f"{KEY} of {source} is not YAML: {_one_line(exc)}") from exc
    except RecursionError as exc:
        raise ConfigError(f"{KEY} of {source} is nested too deep") from exc
    if document is None:
        return SpecChange()
    values = reader.mapping(KEY, document)
    known = {**_FIELDS, **(_RECORDED_FIELDS if recorded else {})}
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known and name not in SHAPE_NAMES:
            raise reader.error(f'the name "{name}" is not known', hint="known names: " + ", ".join(sorted(SPEC_NAMES)))
        if value is not None and name in known:
            attribute, parse = known[name]
            arguments[attribute] = parse(reader, name, value)
    arguments["pod"] = read_shape(reader, values)
    return _settle(arguments, source)


def _loader(text: str) -> Any:
    """The quick parser for what cannot be nested too deep for it, if PyYAML was built with it, else the other."""
    quick = sum(map(text.count, "[{-?")) <= _MOST_MARKS
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader) if quick else yaml.SafeLoader


def _settle(arguments: dict[str, Any], source: str) -> SpecChange:
    """Move registry settings out of the TOML; what `registries` says goes over them."""
    if "buildkitd_config" in arguments:
        config = parse_buildkitd_config(arguments["buildkitd_config"], source=f"buildkitdConfig of {source}")
        said: Mapping[str, RegistrySettings] = arguments.get("registries", {})
        merged = dict(config.registries)
        for host, settings in said.items():
            merged[host] = settings.over(merged.get(host, RegistrySettings()))
        arguments.update(buildkitd_config=config.text, registries=merged)
    return SpecChange(**arguments)


def dump_spec(spec: BuilderSpec) -> str:
    """Write what `parse_spec(recorded=True)` reads. The contents of client files are left out; everything else is there, also defaults."""
    return dump_yaml(spec_document(spec))


def check_spec(spec: BuilderSpec) -> None:
    """Raise UsageError for what could be recorded, but not read again: the builder would be of no use to anybody."""
    try:
        parse_spec(dump_spec(spec), source="what is asked for", recorded=True)
    except ConfigError as exc:
        raise UsageError(exc.message, hint="see: kubectl buildkit create --help") from exc


def spec_document(spec: BuilderSpec) -> JsonObject:
    """The names and values that `dump_spec` writes."""
    document: dict[str, Any] = {"image": spec.image, "security": spec.security}
    if spec.replicas is not None:
        document["replicas"] = spec.replicas
    if spec.platforms:
        document["platform"] = [str(platform) for platform in spec.platforms]
    document["resources"] = {key: dict(values) for key, values in spec.resources.items()}
    if spec.env:
        document["env"] = dict(spec.env)
    if spec.allow:
        document["allow"] = list(spec.allow)
    if spec.cache != CacheVolume():
        document["cache"] = dump_cache(spec.cache)
    document.update(dump_shape(spec.pod))
    if spec.idle_seconds:
        document["idleTimeout"] = format_seconds(spec.idle_seconds)
    if spec.buildkitd_flags:
        document["buildkitdFlags"] = list(spec.buildkitd_flags)
    if spec.qemu_install:
        document["qemuInstall"] = True
        document["qemuImage"] = spec.qemu_image
    if spec.registries:
        document["registries"] = {host: _dump_registry(settings) for host, settings in sorted(spec.registries.items())}
    if spec.buildkitd_config:
        document["buildkitdConfig"] = spec.buildkitd_config
    if spec.client_files:
        document["clientFiles"] = {name: file.digest for name, file in sorted(spec.client_files.items())}
    return document


def _dump_registry(settings: RegistrySettings) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if settings.mirrors:
        result["mirrors"] = list(settings.mirrors)
    if settings.http is not None:
        result["http"] = settings.http
    if settings.insecure is not None:
        result["insecure"] = settings.insecure
    if settings.ca:
        result["ca"] = settings.ca
    return result


class _Dumper(yaml.SafeDumper):
    """Text of several lines as a block, lists indented as in Kubernetes' own documents, and no anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _block_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _block_text)


def dump_yaml(document: object) -> str:
    """One YAML document in the order of its keys."""
    return str(yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True))


class _Reader(Reader):
    """Reads the values of a builder.yaml."""

    def security(self, name: str, value: object) -> str:
        level = self.text(name, value)
        if level not in SECURITY_LEVELS:
            raise self.error(f'"{name}" must be one of {", ".join(SECURITY_LEVELS)}, not "{level}"')
        return level

    def replicas(self, name: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.error(f'"{name}" must be a number from 1, not {quote(value)}')
        return value

    def platforms(self, name: str, value: object) -> tuple[Platform, ...]:
        texts = (value,) if isinstance(value, str) else self.texts(name, value)
        try:
            return parse_platforms(texts)
        except UsageError as exc:
            raise self.refused(exc) from exc

    def resources(self, name: str, value: object) -> dict[str, dict[str, str]]:
        result: dict[str, dict[str, str]] = {}
        for kind, amounts in self.mapping(name, value).items():
            if kind not in ("requests", "limits"):
                raise self.error(f'"{name}" has "requests" and "limits", not "{kind}"')
            pairs = self.mapping(f"{name}.{kind}", amounts)
            result[kind] = {key: self._amount(f"{name}.{kind}.{key}", amount) for key, amount in pairs.items()}
        return result

    def _amount(self, name: str, value: object) -> str:
        text = self.text_or_number(name, value)
        try:
            parse_quantity(text, what=f'"{name}"')
        except UsageError as exc:
            raise self.refused(exc) from exc
        return text

    def env(self, name: str, value: object) -> dict[str, str]:
        pairs = self.mapping(name, value)
        for key in pairs:
            if not _ENV_NAME.fullmatch(key):
                raise self.error(f'"{name}" has "{key}", which is not the name of an environment variable')
        return {key: self.text_or_number(f"{name}.{key}", item) for key, item in pairs.items()}

    def entitlements(self, name: str, value: object) -> tuple[str, ...]:
        rights = self.texts(name, value)
        try:
            for right in rights:
                check_entitlement(right)
        except UsageError as exc:
            raise self.refused(exc) from exc
        return rights

    def buildkitd_flags(self, name: str, value: object) -> tuple[str, ...]:
        flags = self.texts(name, value)
        try:
            check_daemon_flags(flags)
        except UsageError as exc:
            raise self.refused(exc) from exc
        return flags

    def registries(self, name: str, value: object) -> dict[str, RegistrySettings]:
        return {host: self._registry(f"{name}.{host}", item) for host, item in self.mapping(name, value).items()}

    def _registry(self, name: str, value: object) -> RegistrySettings:
        settings = self.mapping(name, value)
        unknown = settings.keys() - {"ca", "mirrors", "http", "insecure"}
        if unknown:
            raise self.error(f'the name "{min(unknown)}" in "{name}" is not known', hint="known names: ca, http, insecure, mirrors")
        ca = self.any_text(f"{name}.ca", settings.get("ca") or "")
        if ca and "-----BEGIN CERTIFICATE-----" not in ca:
            raise self.error(f'"{name}.ca" must be certificates as PEM text, not {quote(ca)}')
        return RegistrySettings(
            ca=ca,
            mirrors=self.texts(f"{name}.mirrors", settings.get("mirrors") or []),
            http=None if settings.get("http") is None else self.flag(f"{name}.http", settings["http"]),
            insecure=None if settings.get("insecure") is None else self.flag(f"{name}.insecure", settings["insecure"]),
        )

    def client_files(self, name: str, value: object) -> dict[str, ClientFile]:
        result = {}
        for key, digest in self.mapping(name, value).items():
            if not _DIGEST.fullmatch(self.text(f"{name}.{key}", digest)):
                raise self.error(f'"{name}.{key}" must be a digest, not {quote(digest)}')
            result[key] = ClientFile(digest=digest)
        return result


_Parse = Callable[[_Reader, str, object], Any]

_FIELDS: Mapping[str, tuple[str, _Parse]] = {
    "image": ("image", _Reader.text),
    "security": ("security", _Reader.security),
    "replicas": ("replicas", _Reader.replicas),
    "platform": ("platforms", _Reader.platforms),
    "resources": ("resources", _Reader.resources),
    "env": ("env", _Reader.env),
    "allow": ("allow", _Reader.entitlements),
    "cache": ("cache", read_cache),
    "idleTimeout": ("idle_seconds", _Reader.seconds),
    "buildkitdFlags": ("buildkitd_flags", _Reader.buildkitd_flags),
    "buildkitdConfig": ("buildkitd_config", _Reader.any_text),
    "registries": ("registries", _Reader.registries),
    "qemuInstall": ("qemu_install", _Reader.flag),
    "qemuImage": ("qemu_image", _Reader.text),
}
_RECORDED_FIELDS: Mapping[str, tuple[str, _Parse]] = {"clientFiles": ("client_files", _Reader.client_files)}
SPEC_NAMES = (*_FIELDS, *SHAPE_NAMES)
"""The names that people may write in a `builder.yaml`."""


def _one_line(exc: Exception) -> str:
    return " ".join(str(exc).split())
