from __future__ import annotations

import os
import time

import pytest

from kubectl_build.cli.verbosity import phases_told, with_phases
from kubectl_build.model.events import BuildEvent, Note, Phase
from kubectl_build.progress.display import Mode

PHASE = Phase(name="plan", began=1_700_000_000.0, ended=1_700_000_000.5, pool="amd64")


@pytest.mark.parametrize(
    ("level", "mode", "told"), [(0, "plain", False), (1, "plain", True), (2, "tty", True), (2, "rawjson", False), (1, "quiet", False)]
)
async def test_phases_are_told_where_they_are_wanted_and_stderr_is_for_people(
    level: int, mode: Mode, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    async with phases_told(level, mode) as phases:
        with_phases(phases, level, lambda event: None)(PHASE)

    assert ("plan" in capsys.readouterr().err) is told


async def test_phases_of_a_build_that_fails_are_told_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="broken"):
        async with phases_told(1, "plain"):
            raise ValueError("broken")

    assert "PHASE" in capsys.readouterr().err


@pytest.mark.parametrize(("level", "notes"), [(1, []), (2, ["phase plan of pool amd64 took 0.50s"])])
async def test_phases_are_notes_as_they_end_at_the_second_level(level: int, notes: list[str]) -> None:
    events: list[BuildEvent] = []
    async with phases_told(level, "plain") as phases:
        with_phases(phases, level, events.append)(PHASE)

    assert [event.text for event in events if isinstance(event, Note)] == notes


async def test_phases_begin_with_the_process_and_not_with_the_build(capsys: pytest.CaptureFixture[str]) -> None:
    async with phases_told(1, "plain"):
        pass

    words = capsys.readouterr().err.splitlines()[-1].split()
    assert words[0] == "all"
    assert float(words[3].removesuffix("s")) >= time.process_time() / (os.cpu_count() or 1)
