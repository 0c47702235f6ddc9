"""What the user asked for, after the command line has been understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
        return self.type is OutputType.IMAGE and self.attrs.get("push", "").lower() in ("true", "1", "t")


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
        """Every image name that the pushed result gets: --tag, else the outputs' own name attributes."""
        if self.tags:
            return self.tags
        texts = [name for output in self.outputs if output.pushes for name in output.attrs.get("name", "").split(",") if name]
        return tuple(parse_reference(text) for text in dict.fromkeys(texts))
