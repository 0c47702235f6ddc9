"""`create --driver-opt`: every option of buildx's kubernetes driver, said in our own flags or refused in words. Pure.

After docker/buildx v0.35.0, driver/kubernetes/factory.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any

from kubectl_build.builder.shape import PodShape
from kubectl_build.builder.spec import SpecChange
from kubectl_build.builder.volume import CacheVolume
from kubectl_build.cli.options.fields import parse_fields
from kubectl_build.errors import UsageError
from kubectl_build.model.gobool import parse_bool
from kubectl_build.model.json import JsonObject
from kubectl_build.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverOptions:
    """What --driver-opt says: about the builder, its namespace ("" for not said), and how long to wait for its pods."""

    change: SpecChange = field(default_factory=SpecChange)
    namespace: str = ""
    ready_timeout: str = ""


def parse_driver_opts(texts: Sequence[str]) -> DriverOptions:
    """Read the values of --driver-opt. Raises UsageError for an option that buildx does not have either, or that has no place here."""
    said = _Said()
    for text in texts:
        for entry in parse_fields("--driver-opt", text):
            key, equals, value = entry.partition("=")
            if not equals:
                raise UsageError(f'--driver-opt "{entry}" is not KEY=VALUE', hint="a value with commas is quoted: '\"KEY=A,B\"'")
            _take(said, key.lower() if not key.startswith("env.") else key, value)
    return said.options()


@dataclass(slots=True)
class _Said:
    """The options, gathered one by one."""

    change: dict[str, Any] = field(default_factory=dict)
    pod: dict[str, Any] = field(default_factory=dict)
    requests: dict[str, str] = field(default_factory=dict)
    limits: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)

    def options(self) -> DriverOptions:
        """All of it as a value."""
        change = SpecChange(
            **self.change,
            requests=self.requests or None,
            limits=self.limits or None,
            env=self.env or None,
            pod=PodShape(**self.pod) if self.pod else None,
        )
        return DriverOptions(change=change, **self.others)


def _take(said: _Said, key: str, value: str) -> None:
    if key in _OPTIONS:
        _OPTIONS[key](said, value)
        return
    kind, _, name = key.partition(".")
    if kind == "env" and name:
        said.env[name] = value
    elif kind in ("requests", "limits") and name in ("cpu", "memory", "ephemeral-storage"):
        getattr(said, kind)[name] = value
    else:
        known = sorted([*_OPTIONS, "env.NAME", "limits.cpu|memory|ephemeral-storage", "requests.cpu|memory|ephemeral-storage"])
        raise UsageError(f'--driver-opt "{key}" is not known', hint="known options: " + ", ".join(known))


def _spec(name: str) -> Callable[[_Said, str], None]:
    def take(said: _Said, value: str) -> None:
        said.change[name] = value

    return take


def _shape(name: str, read: Callable[[str, str], Any]) -> Callable[[_Said, str], None]:
    def take(said: _Said, value: str) -> None:
        said.pod[name] = read(name, value)

    return take


def _other(name: str) -> Callable[[_Said, str], None]:
    def take(said: _Said, value: str) -> None:
        said.others[name] = value

    return take


def _text(_name: str, value: str) -> str:
    return value


def _pairs(name: str, value: str) -> dict[str, str]:
    pairs = {}
    for entry in filter(None, value.split(",")):
        key, equals, item = entry.partition("=")
        if not equals:
            raise UsageError(f'"{entry}" in --driver-opt "{name}={value}" is not NAME=VALUE')
        pairs[key.strip()] = item.strip()
    return pairs


_TOLERATION_KEYS = {"key": "key", "operator": "operator", "value": "value", "effect": "effect", "tolerationseconds": "tolerationSeconds"}


def _tolerations(name: str, value: str) -> tuple[JsonObject, ...]:
    found = []
    for text in filter(None, value.split(";")):
        toleration: JsonObject = {}
        for key, item in _pairs(name, text).items():
            if key.lower() not in _TOLERATION_KEYS:
                raise UsageError(
                    f'"{key}" in --driver-opt "tolerations={value}" is not known', hint="keys: " + ", ".join(_TOLERATION_KEYS.values())
                )
            toleration[_TOLERATION_KEYS[key.lower()]] = _seconds(item) if key.lower() == "tolerationseconds" else item
        found.append(toleration)
    return tuple(found)


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise UsageError(f'tolerationSeconds "{text}" in --driver-opt is not a number')
    return int(text)


def _flag(key: str, value: str) -> bool:
    flag = parse_bool(value)
    if flag is None:
        raise UsageError(f'--driver-opt "{key}={value}" is not valid: it is true or false')
    return flag


def _replicas(said: _Said, value: str) -> None:
    if not value.isascii() or not value.isdigit():
        raise UsageError(f'--driver-opt "replicas={value}" is not a number')
    said.change["replicas"] = int(value)


def _rootless(said: _Said, value: str) -> None:
    if _flag("rootless", value):
        said.change["security"] = "rootless"


def _qemu_install(said: _Said, value: str) -> None:
    said.change["qemu_install"] = _flag("qemu.install", value)


def _load_balance(_said: _Said, value: str) -> None:
    if value != "sticky":
        raise UsageError(
            f'--driver-opt "loadbalance={value}" is not possible: a build goes to the pod that has its cache, unless that is too busy',
            hint="leave it out; --context-key of kubectl build tells builds apart",
        )


def _default_load(_said: _Said, value: str) -> None:
    if _flag("default-load", value):
        raise UsageError('--driver-opt "default-load=true" is not possible: there is no Docker to load into', hint="use --push")


def _network(said: _Said, value: str) -> None:
    if value != "host":
        raise UsageError(f"--driver-opt \"network={value}\" is not possible: a pod is in the cluster's network, or in its node's (host)")
    said.pod["host_network"] = True
    said.change["allow"] = ("network.host",)


def _memory_volume(said: _Said, value: str) -> None:
    said.change["cache"] = CacheVolume(kind="memory", size=value)


def _claim(said: _Said, value: str) -> None:
    said.change["cache"] = CacheVolume(kind="pvc", size=value)


_OPTIONS: Mapping[str, Callable[[_Said, str], None]] = {
    "image": _spec("image"),
    "namespace": _other("namespace"),
    "timeout": _other("ready_timeout"),
    "replicas": _replicas,
    "rootless": _rootless,
    "nodeselector": _shape("node_selector", _pairs),
    "tolerations": _shape("tolerations", _tolerations),
    "annotations": _shape("annotations", _pairs),
    "labels": _shape("labels", _pairs),
    "serviceaccount": _shape("service_account", _text),
    "schedulername": _shape("scheduler_name", _text),
    "loadbalance": _load_balance,
    "qemu.install": _qemu_install,
    "qemu.image": _spec("qemu_image"),
    "default-load": _default_load,
    "buildkit-root-volume-memory": _memory_volume,
    "persistent-volume-claim.requests.storage": _claim,
    "network": _network,
}
