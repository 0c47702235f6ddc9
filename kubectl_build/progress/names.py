"""What the name of a step says. BuildKit tells platform, stage and number only there (moby/buildkit dockerfile2llb prefixCommand). Pure."""

from __future__ import annotations

import re

from kubectl_build.values import dataclass

_BRACKETS = re.compile(r"\[ *(?P<inside>[^\]]*)\] +(?P<rest>.*)", re.DOTALL)
_PLATFORM = re.compile(r"(?P<built>[a-z][a-z0-9]*/[^\s>]+?)(?:->(?P<target>\S+))?")
_NUMBER = re.compile(r"\d+/\d+")
_SYSTEMS = ("linux", "windows", "darwin", "freebsd")


@dataclass(frozen=True, slots=True)
class StepName:
    """The name of a step, taken apart.

    `built` is the platform that the step runs on, and `platform` the one that it is for; both "" where the name does not tell. `stage` is
    "" for a Dockerfile's only stage, `number` (`2/3`) is "" for what is no line of a Dockerfile. `rest` is what is done.
    """

    built: str = ""
    platform: str = ""
    stage: str = ""
    number: str = ""
    rest: str = ""


def parse_step(name: str) -> StepName:
    """Take apart `[linux/amd64->arm64 build 2/3] RUN make`. What has no such form is all `rest`."""
    found = _BRACKETS.fullmatch(name)
    if found is None:
        return StepName(rest=name)
    words = found["inside"].split()
    platform = _PLATFORM.fullmatch(words[0]) if words else None
    words = words[1:] if platform else words
    number = words.pop() if words and _NUMBER.fullmatch(words[-1]) else ""
    if not number and words not in (["internal"], []):
        return StepName(rest=name)
    built = platform["built"] if platform else ""
    target = _target(built, platform["target"]) if platform and platform["target"] else built
    return StepName(built, target, " ".join(words) if number else "", number, found["rest"])


def with_prefix(prefix: str, name: str) -> str:
    """The name of a step of one of several pools, as buildx writes those of its nodes (util/progress/multiwriter.go addPrefix)."""
    if not prefix:
        return name
    return f"[{prefix} {name[1:]}" if name.startswith("[") else f"[{prefix}] {name}"


def _target(built: str, target: str) -> str:
    """The platform behind an arrow; its os is left out in the name when it is that of the platform before the arrow."""
    return target if target.split("/")[0] in _SYSTEMS else f"{built.split('/')[0]}/{target}"
