"""What a report tells of a build, as values. Times are seconds since the epoch by this machine's clock; durations are seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from kubectl_build.model.observed import ImageLayer, SourceFile
from kubectl_build.progress.state import Interval, StepKey
from kubectl_build.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFacts:
    """A step. `pool` is the label of its pool; `inputs` are the steps that it waits for.

    `runs` are the times in which it ran, at least one, in order: a daemon looks at a base image at first and may unpack it much later.
    `spans` are a file's number and the first and last line; `runs_on` is the platform of its command. `dropped` lines of its output are not
    in `log` any more.
    """

    key: StepKey
    name: str
    pool: str
    runs: tuple[Interval, ...]
    inputs: tuple[StepKey, ...] = ()
    cached: bool = False
    error: str = ""
    canceled: bool = False
    emulated: bool = False
    platforms: tuple[str, ...] = ()
    runs_on: str = ""
    spans: tuple[tuple[int, int, int], ...] = ()
    log: tuple[str, ...] = field(default=(), repr=False)
    dropped: int = 0

    @property
    def start(self) -> float:
        return self.runs[0].start

    @property
    def stop(self) -> float | None:
        """None where it never ended."""
        return self.runs[-1].stop

    @property
    def seconds(self) -> float:
        return sum(max(run.stop - run.start, 0.0) for run in self.runs if run.stop is not None)

    @property
    def counts(self) -> bool:
        """Whether this is a step of the Dockerfile, and not something that BuildKit does for itself."""
        mark, bracket, _ = self.name.partition("]")
        return bool(bracket) and mark.startswith("[") and not mark.endswith(("internal", "[auth"))


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFacts:
    """Who built: `label` marks the pool in steps, "" for the only one or for the planning before several."""

    label: str
    pool: str
    pod: str
    node: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformFacts:
    """Where and how a platform was built. `layers` is None where no image was made, or where that is not known."""

    platform: str
    mode: str
    pool: str
    why: str = ""
    layers: tuple[ImageLayer, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferFacts:
    """Bytes that went from one place to another in a step."""

    what: str
    pool: str
    size: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFacts:
    """A build, whether it ended well or not. `critical` are the steps that decided how long it took, in order."""

    steps: tuple[StepFacts, ...]
    pools: tuple[PoolFacts, ...]
    platforms: tuple[PlatformFacts, ...]
    sources: tuple[SourceFile, ...]
    transfers: tuple[TransferFacts, ...]
    notes: tuple[str, ...]
    critical: tuple[StepKey, ...]
    began: float
    ended: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """What stands over a report. `status` is a word such as "completed"; `facts` are names and values, `command` its words, masked."""

    title: str
    status: str
    error: str = ""
    command: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
