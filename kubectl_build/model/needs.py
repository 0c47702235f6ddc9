"""What the steps of a platform's build need to run on, read from its LLB."""

from __future__ import annotations

from dataclasses import field

from kubectl_build.model.platform import Platform
from kubectl_build.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The platforms on which a build's commands run. `execs` maps each to one such command line, for messages; steps without commands are
    absent.

    `unknown` tells that the LLB has operations of a kind this client does not know: they count as needing the target platform.
    """

    execs: dict[Platform, str] = field(default_factory=dict)
    unknown: bool = False
