"""What the user asked for, after the command line has been understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from kubectl_build.model.platform import Platform
from kubectl_build.model.reference import Reference, parse_reference


class Emulation(StrEnum):
    """Values of --emulation."""

    AUTO = "auto"
    NEVER = "never"
    ALWAYS = "always"


class OutputType(StrEnum):
    """BuildKit's exporters that a user can name; `registry` is `image` with push."""

    IMAGE = "image"
    LOCAL = "local"
    TAR = "tar"
    OCI = "oci"
    DOCKER = "docker"


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

    def _says(self, name: str) -> bool:
        return self.attrs.get(name, "").lower() in ("true", "1", "t")

    @property
    def names(self) -> tuple[Reference, ...]:
        """The names of its own. Raises UsageError."""
        return tuple(parse_reference(text) for text in dict.fromkeys(self.attrs.get("name", "").split(",")) if text)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """A build. `platforms` is empty when the user named none. `dockerfile` is an existing file; it may lie outside `context`."""

    context: Path
    dockerfile: Path
    tags: tuple[Reference, ...] = ()
    platforms: tuple[Platform, ...] = ()
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    no_cache: bool = False
    pull: bool = False
    outputs: tuple[Output, ...] = ()
    builder: str = "buildkit"
    emulation: Emulation = Emulation.AUTO
    registry_secrets: tuple[str, ...] = ()

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
