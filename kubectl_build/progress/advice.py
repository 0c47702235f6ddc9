"""What made a build slow that need not be so: commands under QEMU. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from kubectl_build.model.events import Placed
from kubectl_build.progress.state import State, Step

_WORTH_SECONDS = 5.0
"""Emulation that has cost less is not worth a word."""


def emulation_advice(state: State, now: float) -> str:
    """A sentence about the platforms whose commands ran long under QEMU, with what to do; "" when there is nothing to say."""
    slow: dict[str, float] = {}
    placed: dict[str, Placed] = {}
    for step in state.order:
        if step.emulated and step.placed:
            slow[step.placed.platform] = slow.get(step.placed.platform, 0.0) + _seconds(state, step, now)
            placed[step.placed.platform] = step.placed
    slow = {platform: seconds for platform, seconds in slow.items() if seconds >= _WORTH_SECONDS}
    return _sentence(slow, placed) if slow else ""


def _seconds(state: State, step: Step, now: float) -> float:
    return 0.0 if step.cached else state.seconds(step, now)


def _sentence(slow: Mapping[str, float], placed: Mapping[str, Placed]) -> str:
    names, seconds = " and ".join(slow), f"{max(slow.values()):.0f}s"
    always = any("--emulation=always" in placed[platform].why for platform in slow)
    node = "a node of that architecture" + (" without --emulation=always" if always else "")
    return f"emulated: {names} ran {seconds} under QEMU; {node}, or cross-compiling (FROM --platform=$BUILDPLATFORM), avoids it"
