"""What a build's report has to know beyond the events that displays show: where steps stand in files, and what images are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field

from kubectl_build.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file that steps come from, a Dockerfile."""

    name: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOrigin:
    """Where a step comes from: `spans` are a file's number and the first and last line, from 1; `platforms` are what it is built for.

    `runs_on` is the platform of a command ("linux/arm64"), "" for a step that runs none.
    """

    spans: tuple[tuple[int, int, int], ...] = ()
    platforms: tuple[str, ...] = ()
    runs_on: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSources:
    """The files of a build, and by digest where its steps come from."""

    files: tuple[SourceFile, ...] = ()
    steps: Mapping[str, StepOrigin] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLayer:
    """A layer of an image: its size in bytes as it is stored and pushed, and the instruction that made it."""

    digest: str
    size: int
    made_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolBegun:
    """A daemon of `pool` builds `platforms` now: told when its frontend has answered, again when it is tried again elsewhere.

    `label` is what marks the pool in a StatusUpdate.
    """

    pool: str
    label: str
    pod: str
    node: str
    version: str
    platforms: tuple[str, ...]
    sources: BuildSources


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMade:
    """A daemon of `pool` has built. `images` are the layers by platform, as far as an image was made; `ref` is the build's ID there."""

    pool: str
    ref: str
    images: Mapping[str, tuple[ImageLayer, ...]] = field(default_factory=dict)


Observer = Callable[[PoolBegun | PoolMade], None]
"""Takes what is observed. Never blocks and never raises."""
