"""What the user asked for, after the command line has been understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from enum import StrEnum
from pathlib import Path

from kubectl_build.model.gobool import parse_bool
from kubectl_build.model.inputs import Context, Dockerfile, LocalContext, NamedContext, Secret, SshAgent
from kubectl_build.model.platform import Platform
from kubectl_build.model.reference import Reference, parse_reference
from kubectl_build.values import dataclass

ENTITLEMENTS = ("network.host", "security.insecure", "device")
"""What a build may ask for beyond the usual, and a builder grant (moby/buildkit util/entitlements)."""


class Emulation(StrEnum):
    """Values of --emulation."""

    AUTO = "auto"
    NEVER = "never"
    ALWAYS = "always"


class AuthVia(StrEnum):
    """Values of --auth-via: who asks a registry's token server. The cluster does so with the login, the client keeps the login."""

    CLUSTER = "cluster"
    CLIENT = "client"


class CompressContext(StrEnum):
    """Values of --compress-context: whether what is sent to a daemon is compressed on its way. `auto` goes by the measured rate."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class OutputType(StrEnum):
    """BuildKit's exporters that a user can name; `registry` is `image` with push; `cacheonly` says that nothing is exported."""

    IMAGE = "image"
    LOCAL = "local"
    TAR = "tar"
    OCI = "oci"
    DOCKER = "docker"
    CACHEONLY = "cacheonly"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One --output. `attrs` go to the exporter as they are; `dest` is a path on this machine, "-" for stdout, None for results that stay
    away."""

    type: OutputType
    attrs: Mapping[str, str] = field(default_factory=dict)
    dest: str | None = None

    @property
    def pushes(self) -> bool:
        """Whether this output writes to a registry."""
        return self.type is OutputType.IMAGE and self._says("push")

    @property
    def insecure(self) -> bool:
        """Whether this output reaches its registries without verified TLS."""
        return self._says("registry.insecure")

    @property
    def by_digest(self) -> bool:
        """Whether what is pushed gets no tag."""
        return self._says("push-by-digest")

    @property
    def is_layout(self) -> bool:
        """Whether an oci or docker output is a directory with an OCI layout, not an archive (`tar=false`)."""
        return self.type in (OutputType.OCI, OutputType.DOCKER) and parse_bool(self.attrs.get("tar", "")) is False

    @property
    def mirrors(self) -> bool:
        """Whether what a local output does not have is removed from its directory (mode=delete; moby/buildkit, ParseLocalExporterMode)."""
        return self.type is OutputType.LOCAL and self.attrs.get("mode", "").strip().lower() == "delete"

    def _says(self, name: str) -> bool:
        return parse_bool(self.attrs.get(name, "")) is True

    @property
    def names(self) -> tuple[Reference, ...]:
        """The names of its own. Raises UsageError."""
        return tuple(parse_reference(text) for text in dict.fromkeys(self.attrs.get("name", "").split(",")) if text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One --annotation. `kind` is "manifest", "index", "manifest-descriptor" or "index-descriptor"; without `platform` it is for all."""

    kind: str
    key: str
    value: str
    platform: Platform | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """One --cache-from or --cache-to: BuildKit's cache backend and its attributes, credentials included, so it is never printed.

    For `local`, attrs have `src` or `dest` (a directory of this machine, by which the daemon asks for its content) and `tag`; the digest
    that an import stands for is found on this machine.
    """

    type: str
    attrs: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"CacheEntry(type={self.type!r}, ...)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A --call other than `build`: `method` is "check", "outline", "targets" or another subrequest of the frontend."""

    method: str
    as_json: bool = False
    ignore_status: bool = False


DEFAULT_RETRIES = 2
"""How often what the infrastructure broke is begun again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """A build. `platforms` is empty when the user named none.

    `attests` maps "sbom" or "provenance" to its options as BuildKit takes them (CSV); `add_hosts` are "name=ip"; `network` is "", "none" or
    "host"; `shm_size` is in bytes; `ulimits` are "name=soft:hard"; `resources` maps frontend attributes (memory, cpuquota, ...) to their
    values; `vcs` maps the rest of `vcs:...` attributes; `entitlements` are what --allow names, without buildx.local.delete;
    `metadata_provenance` is "min" or "max" where the result's metadata is to have the build's provenance; `source_policy` is BuildKit's
    source policy as JSON, "" for none; `context_key` is by what a pod is chosen, "" for the context's own.
    """

    context: Context
    dockerfile: Dockerfile
    named_contexts: Mapping[str, NamedContext] = field(default_factory=dict)
    tags: tuple[Reference, ...] = ()
    platforms: tuple[Platform, ...] = ()
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: tuple[Annotation, ...] = ()
    attests: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    no_cache: bool = False
    no_cache_filter: tuple[str, ...] = ()
    pull: bool = False
    outputs: tuple[Output, ...] = ()
    cache_from: tuple[CacheEntry, ...] = ()
    cache_to: tuple[CacheEntry, ...] = ()
    secrets: tuple[Secret, ...] = ()
    ssh: tuple[SshAgent, ...] = ()
    entitlements: tuple[str, ...] = ()
    add_hosts: tuple[str, ...] = ()
    network: str = ""
    cgroup_parent: str = ""
    shm_size: int = 0
    ulimits: tuple[str, ...] = ()
    resources: Mapping[str, str] = field(default_factory=dict)
    vcs: Mapping[str, str] = field(default_factory=dict)
    call: Call | None = None
    metadata_provenance: str = ""
    source_policy: str = ""
    builder: str = "buildkit"
    context_key: str = ""
    emulation: Emulation = Emulation.AUTO
    auth_via: AuthVia = AuthVia.CLUSTER
    compress_context: CompressContext = CompressContext.AUTO
    registry_secrets: tuple[str, ...] = ()
    retries: int = DEFAULT_RETRIES

    @property
    def tree(self) -> Path | None:
        """The directory whose identity is the build's: the context's, else the Dockerfile's; None where neither is on this machine."""
        return self.context.path if isinstance(self.context, LocalContext) else self.dockerfile.directory

    @property
    def exported(self) -> tuple[Output, ...]:
        """The outputs that have an exporter; an exporter's number in a solve is its index here."""
        return tuple(output for output in self.outputs if output.type is not OutputType.CACHEONLY)

    @property
    def pushes(self) -> bool:
        """Whether any output writes to a registry."""
        return any(output.pushes for output in self.outputs)

    @property
    def names(self) -> tuple[Reference, ...]:
        """Every image name that the pushed result gets: --tag, else the outputs' own names; without a tag where none is wanted."""
        pushing = [output for output in self.outputs if output.pushes]
        found = self.tags or [name for output in pushing for name in output.names]
        if pushing and all(output.by_digest for output in pushing):
            found = [replace(name, tag="") for name in found]
        return tuple(dict.fromkeys(found))

    def pushes_insecurely(self, host: str) -> bool:
        """Whether an output that pushes to registry `host` says that its TLS is not to be verified."""
        pushing = [output for output in self.outputs if output.pushes and output.insecure]
        return any(name.domain == host for output in pushing for name in self.tags or output.names)
