"""A case: what is built, with which flags, and what of the result is compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    """Where a build leaves its result. What is below `{out}` and on stdout is compared for every kind."""

    PUSHED = "pushed"
    """An image in the registry: manifests and indexes byte for byte. Adds the flags that push."""
    ATTESTED = "attested"
    """As PUSHED, but attestations are compared without times, ids and names, which differ between any two builds."""
    TIMELESS = "timeless"
    """An image into which the daemon puts times of its own: compared by all that it holds but these and their digests."""
    OUTPUT = "output"
    """Nothing in the registry, and no flags are added."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a case is prepared, once for both tools."""

    work: Path
    """Private to the case. The builds run in `work/context`."""
    www: Path
    """Served as `{http}`, for both tools and their daemons. A directory `NAME.git` is a repository that git can fetch."""

    @property
    def context(self) -> Path:
        return self.work / "context"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One build. In `args`, `before`, `context`, `stdin` and the values of `env` these stand for what differs or is not known before:

    {work} the case's directory, {http} the URL of its www, {registry} host:port, {tool} a word of the tool, {name} an image name
    of the tool's own, {out} a directory of the tool's own, {docker} the tool's docker config, {agent} the socket of an ssh agent,
    {digest} what `prepare` wrote into the file `digest` of the case's directory.
    """

    name: str
    shows: str
    """What of Dockerfiles, contexts or flags it is about, for the table."""
    dockerfile: str | None = None
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    prepare: Callable[[Site], None] | None = None
    """Makes what `files` cannot say. It runs after they are written, and must write the same bytes at each call."""
    args: tuple[str, ...] = ()
    before: tuple[tuple[str, ...], ...] = ()
    """Arguments, the context included, of builds that come first."""
    context: str = "."
    stdin: str | None = None
    """A file that is the standard input."""
    env: Mapping[str, str] = field(default_factory=dict)
    kind: Kind = Kind.PUSHED
    code: int = 0
    """The exit code that both must give."""
    pools: tuple[str, ...] = ()
    """The pools that `kubectl build` must use, as its plan says; empty where that is not the point."""

    @property
    def flags(self) -> tuple[str, ...]:
        """The arguments of the build, those that push included; not the context."""
        if self.kind is not Kind.OUTPUT and not any(arg.startswith("--push") or "push=true" in arg for arg in self.args):
            return (*self.args, "-t", "{name}", "-o", "type=image,push=true,rewrite-timestamp=true")
        return self.args
