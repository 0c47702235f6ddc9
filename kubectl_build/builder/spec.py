"""What a builder is meant to be: a value that `create`'s flags, the cluster's defaults and the builder's own ConfigMap are read into."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import field, fields, replace
from decimal import Decimal
from typing import Any

from kubectl_build.builder.amounts import parse_quantity
from kubectl_build.builder.security import AUTO, SECURITY_LEVELS
from kubectl_build.builder.shape import PodShape
from kubectl_build.builder.volume import CacheVolume
from kubectl_build.errors import UsageError
from kubectl_build.model.platform import Platform, native_architecture
from kubectl_build.model.request import ENTITLEMENTS
from kubectl_build.values import dataclass

DEFAULT_IMAGE = "docker.io/moby/buildkit:v0.31.2"
DEFAULT_QEMU_IMAGE = "docker.io/tonistiigi/binfmt:qemu-v10.2.3-68"

DEFAULT_RESOURCES: Mapping[str, Mapping[str, str]] = {"requests": {"cpu": "100m", "memory": "256Mi"}}
"""Enough for the daemon itself, so that the pod is not the first that a full node evicts; builds use what the node has to spare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """How a registry is reached, with the meaning of BuildKit's [registry."HOST"]. `ca` is PEM text, "" for the system's authorities.

    None for `http` and `insecure` means not said.
    """

    ca: str = ""
    mirrors: tuple[str, ...] = ()
    http: bool | None = None
    insecure: bool | None = None

    def over(self, other: RegistrySettings) -> RegistrySettings:
        """These settings, with those of `other` where these say nothing."""
        return RegistrySettings(
            ca=self.ca or other.ca,
            mirrors=self.mirrors or other.mirrors,
            http=other.http if self.http is None else self.http,
            insecure=other.insecure if self.insecure is None else self.insecure,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFile:
    """A client certificate or key for a registry. The ConfigMap records its digest only, so `content` is None when read back from there."""

    digest: str
    content: str | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, content: str) -> ClientFile:
        """The file with `content`."""
        return cls(digest="sha256:" + hashlib.sha256(content.encode()).hexdigest(), content=content)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderSpec:
    """A builder's whole configuration.

    `security` is what was asked for; what was chosen for a pool stands on its pods. `replicas` None was never asked for. `platforms` not
    empty fixes the pools. `buildkitd_config` is TOML without what `registries` says;
    the files that its client key pairs name are `client_files`, by their name in the builder's Secret. `buildkitd_flags` are further
    arguments of the daemon. `allow` are the entitlements that builds may ask for. `idle_seconds` None: the builder is never stopped.
    """

    image: str = DEFAULT_IMAGE
    security: str = AUTO
    replicas: int | None = None
    platforms: tuple[Platform, ...] = ()
    resources: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: DEFAULT_RESOURCES)
    env: Mapping[str, str] = field(default_factory=dict)
    allow: tuple[str, ...] = ()
    cache: CacheVolume = field(default_factory=CacheVolume)
    pod: PodShape = field(default_factory=PodShape)
    idle_seconds: int | None = None
    buildkitd_flags: tuple[str, ...] = ()
    buildkitd_config: str = ""
    registries: Mapping[str, RegistrySettings] = field(default_factory=dict)
    client_files: Mapping[str, ClientFile] = field(default_factory=dict)
    qemu_install: bool = False
    qemu_image: str = DEFAULT_QEMU_IMAGE

    @property
    def fixed_architectures(self) -> tuple[str, ...]:
        """The architectures of the pools that `platforms` fixes; empty when pools are added as builds need them."""
        return pool_architectures(self.platforms)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecChange:
    """The parts of a spec that somebody said: `create`'s flags, or a `builder.yaml`. None was not said.

    `resources` replaces all of them, `requests` and `limits` go by name over what there is. `idle_seconds` 0 is never.
    """

    image: str | None = None
    security: str | None = None
    replicas: int | None = None
    platforms: tuple[Platform, ...] | None = None
    resources: Mapping[str, Mapping[str, str]] | None = None
    requests: Mapping[str, str] | None = None
    limits: Mapping[str, str] | None = None
    env: Mapping[str, str] | None = None
    allow: tuple[str, ...] | None = None
    cache: CacheVolume | None = None
    pod: PodShape | None = None
    idle_seconds: int | None = None
    buildkitd_flags: tuple[str, ...] | None = None
    buildkitd_config: str | None = None
    registries: Mapping[str, RegistrySettings] | None = None
    client_files: Mapping[str, ClientFile] | None = None
    qemu_install: bool | None = None
    qemu_image: str | None = None


def merge(base: BuilderSpec, change: SpecChange) -> BuilderSpec:
    """`base` with `change` over it. What goes by name or host is joined with what there is, all else is replaced whole.

    Raises UsageError for a value that cannot be.
    """
    if change.security is not None and change.security not in SECURITY_LEVELS:
        raise UsageError(f'security "{change.security}" is not known', hint="use one of: " + ", ".join(SECURITY_LEVELS))
    if change.replicas is not None and change.replicas < 1:
        raise UsageError(f'replicas "{change.replicas}" is not valid: a builder has at least one pod')
    for right in change.allow or ():
        check_entitlement(right)
    said: dict[str, Any] = {item.name: value for item in fields(change) if (value := getattr(change, item.name)) is not None}
    said["resources"] = _merge_resources(said.get("resources", base.resources), said.pop("requests", {}), said.pop("limits", {}))
    said["env"] = {**base.env, **said.get("env", {})}
    said["registries"] = _merge_registries(base.registries, said.get("registries", {}))
    said["pod"] = said.get("pod", PodShape()).over(base.pod)
    if "idle_seconds" in said:
        said["idle_seconds"] = said["idle_seconds"] or None
    if "buildkitd_config" in said:
        # A new configuration brings its own files, or none.
        said.setdefault("client_files", {})
    return replace(base, **said)


def check_entitlement(right: str) -> None:
    """Raise UsageError for a right that BuildKit does not have."""
    if right not in ENTITLEMENTS:
        raise UsageError(f'entitlement "{right}" is not known', hint="use one of: " + ", ".join(ENTITLEMENTS))


def _merge_resources(
    base: Mapping[str, Mapping[str, str]], requests: Mapping[str, str], limits: Mapping[str, str]
) -> Mapping[str, Mapping[str, str]]:
    if not requests and not limits:
        return base
    asked = {**base.get("requests", {}), **requests}
    for name, limit in limits.items():
        # A small limit is not to fail for a request that nobody made: without one, Kubernetes takes the limit.
        if name in asked and name not in requests and _amount(name, asked[name]) > _amount(name, limit):
            del asked[name]
    merged = {"requests": asked, "limits": {**base.get("limits", {}), **limits}}
    return {kind: amounts for kind, amounts in merged.items() if amounts}


def _amount(name: str, text: str) -> Decimal:
    return parse_quantity(text, what=f"amount of {name}")


def _merge_registries(base: Mapping[str, RegistrySettings], change: Mapping[str, RegistrySettings]) -> dict[str, RegistrySettings]:
    result = dict(base)
    for host, settings in change.items():
        result[host] = settings.over(base.get(host, RegistrySettings()))
    return result


def registry_trust(registries: Mapping[str, RegistrySettings], host: str) -> RegistrySettings:
    """How the builder's daemons reach `host` (host or host:port, docker.io in any spelling), so that we can reach it the same way."""
    if host in ("index.docker.io", "registry-1.docker.io"):
        host = "docker.io"
    return registries.get(host, RegistrySettings())


def pool_architectures(platforms: Sequence[Platform]) -> tuple[str, ...]:
    """The node architectures whose pools run all of `platforms` natively, in the order of the first platform of each.

    32-bit arm shares the pool of arm64 when that is asked for too. Raises UsageError for a platform on which no builder pod can run.
    """
    result: list[str] = []
    has_arm64 = any(platform.os == "linux" and platform.architecture == "arm64" for platform in platforms)
    for platform in platforms:
        if platform.os != "linux":
            raise UsageError(
                f'a builder cannot have a pool for "{platform}": its pods run Linux',
                hint="leave it out; images for it are made by cross-compiling, on any pool",
            )
        architecture = native_architecture(platform)
        if architecture == "arm" and has_arm64:
            architecture = "arm64"
        if architecture not in result:
            result.append(architecture)
    return tuple(result)


def runs_arm32(platforms: Sequence[Platform]) -> bool:
    """Whether the builder's arm64 pool was made for 32-bit arm as well."""
    architectures = {platform.architecture for platform in platforms if platform.os == "linux"}
    return {"arm", "arm64"} <= architectures
