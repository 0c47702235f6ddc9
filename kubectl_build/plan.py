"""Which platforms go to which pool, and in which mode. Pure: platforms, pools and policy in, a Plan out.

The modes, in the order of preference (design of the product, "Platforms"):
    cross   every command of the platform's build runs on the architecture of the pool that plans
    native  the pool's architecture is the one that the platform's commands need
    QEMU    neither: an emulator in the builder's pod
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from kubectl_build.errors import UsageError
from kubectl_build.model.needs import Needs
from kubectl_build.model.platform import Platform, native_architecture, runs_on
from kubectl_build.model.request import Emulation
from kubectl_build.values import dataclass

_ADD_NODE = "add a node of that architecture"
_ADD_POOL = "give the builder a pool for it (kubectl buildkit create NAME --platform ...)"


class Mode(StrEnum):
    """How a platform is built."""

    NATIVE = "native"
    CROSS = "cross"
    QEMU = "QEMU"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The pools that a build may use. `existing` have pods or a StatefulSet now; `nodes` counts schedulable nodes by architecture.

    `fixed` means that the builder's own platforms fix its pools: builds add none. `arm32` are pools created for 32-bit arm. `labels` is the
    selector of the nodes that the builder is bound to (`disk=fast`); others are not counted.
    """

    existing: tuple[str, ...] = ()
    nodes: Mapping[str, int] | None = None
    fixed: bool = False
    arm32: bool = False
    labels: str = ""

    @property
    def architectures(self) -> tuple[str, ...]:
        """Every architecture that may be used, existing pools first, then by number of nodes."""
        if self.fixed:
            return self.existing
        others = [arch for arch, _ in sorted((self.nodes or {}).items(), key=lambda item: (-item[1], item[0] != "amd64", item[0]))]
        return tuple(dict.fromkeys([*self.existing, *others]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One platform's place. `why` is a phrase for the user."""

    platform: Platform
    mode: Mode
    pool: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Every platform's place, in the order asked for. `certain` is False while only nodes, not the Dockerfile's steps, have been looked
    at."""

    assignments: tuple[Assignment, ...]
    certain: bool = True

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools in use, in order of first use."""
        return tuple(dict.fromkeys(a.pool for a in self.assignments))

    def mode(self, platform: Platform) -> Mode:
        """How `platform` is built."""
        return next(a.mode for a in self.assignments if a.platform == platform)

    def table(self) -> str:
        """The plan for people: a line for each platform."""
        rows = [("PLATFORM", "MODE", "POOL", "WHY"), *((str(a.platform), a.mode.value, a.pool, a.why) for a in self.assignments)]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return "\n".join("  ".join([*(row[i].ljust(widths[i]) for i in range(3)), row[3]]) for row in rows)

    def platforms(self, pool: str) -> tuple[Platform, ...]:
        """The platforms of one pool, in the order asked for."""
        return tuple(a.platform for a in self.assignments if a.pool == pool)


def default_platform(candidates: Candidates) -> Platform:
    """The platform of a build that names none: the builder's first existing pool, else the most common node architecture.

    Raises UsageError when there is neither.
    """
    for arch in candidates.architectures:
        return Platform("linux", arch)
    raise no_pool((), candidates.labels)


def planning_pool(platforms: Sequence[Platform], candidates: Candidates) -> str:
    """The pool to ask for the LLB: native for most of the platforms; on a tie one that exists, then amd64. Raises UsageError."""
    if not candidates.architectures:
        raise no_pool(platforms, candidates.labels)

    def rank(arch: str) -> tuple[int, bool, bool]:
        return (sum(_is_native(p, arch, candidates) for p in platforms), arch in candidates.existing, arch == "amd64")

    return max(candidates.architectures, key=rank)


def is_single(platforms: Sequence[Platform], candidates: Candidates, emulation: Emulation) -> bool:
    """Tell whether only one pool can come into question, so that no planning solve is needed."""
    if emulation is Emulation.ALWAYS or len(platforms) <= 1:
        return True
    return len({native_architecture(p) for p in platforms if p.os == "linux"} & set(candidates.architectures)) <= 1


def provisional_plan(platforms: Sequence[Platform], candidates: Candidates, emulation: Emulation) -> Plan:
    """The plan as nodes alone decide it, before any Dockerfile has been read: what would run natively, and what needs cross-compiling or
    QEMU."""
    home = planning_pool(platforms, candidates)
    assignments = []
    for platform in platforms:
        arch = native_architecture(platform)
        if platform.os == "linux" and _is_native(platform, home, candidates):
            assignments.append(Assignment(platform=platform, mode=Mode.NATIVE, pool=home, why=f"nodes of {home}"))
        elif platform.os == "linux" and emulation is not Emulation.ALWAYS and arch in candidates.architectures:
            assignments.append(Assignment(platform=platform, mode=Mode.NATIVE, pool=arch, why=f"nodes of {arch}, if its steps run there"))
        elif platform.os != "linux":
            assignments.append(Assignment(platform=platform, mode=Mode.CROSS, pool=home, why="copies only: nothing may run on it"))
        else:
            lacking = "pool" if candidates.fixed else "node"
            why = f"no {lacking} of {arch}; cross if nothing runs on it"
            assignments.append(Assignment(platform=platform, mode=Mode.QEMU, pool=home, why=why))
    return Plan(assignments=tuple(assignments), certain=False)


def doubts(
    platforms: Sequence[Platform], needs: Mapping[Platform, Needs], asked: str, candidates: Candidates, emulation: Emulation
) -> dict[str, tuple[Platform, ...]]:
    """The other pools whose own LLB decides, with the platforms in question.

    What runs for the asked pool's architecture may be of BUILDPLATFORM, and so native wherever it is built; or it is of a platform that
    the Dockerfile names, and is emulated elsewhere. The asked pool's answer does not tell which.
    """
    found: dict[str, list[Platform]] = {}
    if emulation is not Emulation.ALWAYS:
        for platform in platforms:
            foreign = foreign_execs(needs[platform], asked, candidates)
            for arch in _running(foreign, asked, candidates):
                if foreign_execs(needs[platform], arch, candidates):
                    found.setdefault(arch, []).append(platform)
    return {arch: tuple(names) for arch, names in found.items()}


def make_plan(
    platforms: Sequence[Platform],
    needs: Mapping[Platform, Needs],
    asked: str,
    candidates: Candidates,
    emulation: Emulation,
    *,
    elsewhere: Mapping[str, Mapping[Platform, Needs]] | None = None,
) -> Plan:
    """Decide from the LLB that the pool `asked` answered, and for the `doubts` from what it is `elsewhere`, by pool.

    Raises UsageError for what cannot be built.
    """
    assignments = []
    for platform in platforms:
        there = {pool: found[platform] for pool, found in (elsewhere or {}).items() if platform in found}
        assignments.append(_assign(platform, needs[platform], asked, candidates, emulation, there))
    return Plan(assignments=tuple(assignments))


def _assign(
    platform: Platform, needs: Needs, asked: str, candidates: Candidates, emulation: Emulation, elsewhere: Mapping[str, Needs]
) -> Assignment:
    foreign = foreign_execs(needs, asked, candidates)
    refuse_windows(needs)
    if not foreign:
        if _is_native(platform, asked, candidates):
            return Assignment(platform=platform, mode=Mode.NATIVE, pool=asked, why=f"{asked} runs it")
        return Assignment(platform=platform, mode=Mode.CROSS, pool=asked, why=f"every step runs on {asked}")
    if emulation is not Emulation.ALWAYS:
        running = _running(foreign, asked, candidates)
        for arch in running:
            if not foreign_execs(elsewhere.get(arch, needs), arch, candidates):
                return Assignment(platform=platform, mode=Mode.NATIVE, pool=arch, why=f"its steps run on {arch}")
        if running:
            foreign = needs.execs  # each has a pool, but no pool has all
    return emulated(platform, foreign, asked, emulation, fixed=candidates.fixed)


def _running(foreign: Mapping[Platform, str], asked: str, candidates: Candidates) -> list[str]:
    """The pools that run what the asked one does not."""
    if not foreign:
        return []
    return [arch for arch in candidates.architectures if arch != asked and all(_is_native(p, arch, candidates) for p in foreign)]


def foreign_execs(needs: Needs, pool: str, candidates: Candidates) -> dict[Platform, str]:
    """The commands, by platform, that the pool's architecture does not run."""
    return {p: command for p, command in needs.execs.items() if not runs_on(p, pool, arm32=candidates.arm32)}


def emulated(platform: Platform, foreign: Mapping[Platform, str], pool: str, emulation: Emulation, *, fixed: bool) -> Assignment:
    """The QEMU assignment of a platform whose commands run on `foreign` platforms, which no pool runs all; UsageError where the user
    forbids emulation. With `fixed` pools a node of that architecture would not help, and may well be there."""
    names = " and ".join(str(p) for p in foreign)
    nobody = "no pool of this builder" if fixed else "no node"
    alone = f"{nobody} does" if len(foreign) == 1 else f"{nobody} runs all of these"
    if emulation is Emulation.NEVER:
        command = next((c for p, c in foreign.items() if native_architecture(p) != pool), "")
        raise UsageError(
            f"platform {platform} cannot be built without emulation: its steps run on {names}, and {alone} ({_cut(command)})",
            hint=f"{_ADD_POOL if fixed else _ADD_NODE}, cross-compile (FROM --platform=$BUILDPLATFORM), or allow --emulation=auto",
        )
    why = f"steps run on {names}, {alone}" if emulation is Emulation.AUTO else f"steps run on {names}, --emulation=always"
    return Assignment(platform=platform, mode=Mode.QEMU, pool=pool, why=why)


def refuse_windows(needs: Needs) -> None:
    """Raise UsageError for a RUN on an operating system that BuildKit's Linux workers never run, emulated or not."""
    for platform, command in needs.execs.items():
        if platform.os != "linux":
            raise UsageError(
                f"a RUN for {platform} cannot be executed: builders run Linux ({_cut(command)})",
                hint="cross-compile in a stage FROM --platform=$BUILDPLATFORM and COPY the result",
            )


def no_pool(platforms: Sequence[Platform], labels: str) -> UsageError:
    """The error for a cluster where no node, or none with the `labels` that the builder asks for, can take a builder."""
    names = ", ".join(str(p) for p in platforms) or "any platform"
    which = f"none with the builder's labels {labels}" if labels else "none"
    return UsageError(
        f"no node can run a builder for {names}: {which} is Ready, schedulable and without taints that a builder does not tolerate",
        hint=f"see: kubectl get nodes -l {labels}" if labels else "see: kubectl get nodes",
    )


def _is_native(platform: Platform, arch: str, candidates: Candidates) -> bool:
    return runs_on(platform, arch, arm32=candidates.arm32)


def _cut(command: str) -> str:
    text = " ".join(command.split())
    return text if len(text) <= 80 else text[:77] + "..."
