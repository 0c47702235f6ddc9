from __future__ import annotations

from kubectl_build.model.events import BuildEvent, Phase, timed
from kubectl_build.progress.phases import Phases
from tests.unit.progress.builders import T0, status, vertex


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> float:
        return self.now


def test_phases_table_has_a_line_for_each_phase_in_order_of_begin() -> None:
    clock = Clock()
    phases = Phases(began=T0 - 1, clock=clock)
    phases.add(Phase(name="solve", began=T0 + 1, ended=T0 + 3, pool="amd64"))
    phases.add(Phase(name="builder", began=T0, ended=T0 + 0.5))
    clock.now = T0 + 4

    assert phases.table().splitlines() == [
        "PHASE    POOL   BEGAN   TOOK",
        "start    -      0.00s  1.00s",
        "builder  -      1.00s  0.50s",
        "solve    amd64  2.00s  2.00s",
        "all      -      0.00s  5.00s",
    ]


def test_phases_of_a_daemon_are_the_context_the_export_and_the_push() -> None:
    """The daemon's clock is an hour ahead, and the export is told in two parts."""
    clock = Clock()
    phases = Phases(began=T0, clock=clock)
    clock.now = T0 + 2
    phases.add(vertex("c", "[internal] load build context", started=3600, completed=3601, pool="arm64"))
    clock.now = T0 + 5
    phases.add(vertex("e", "exporting to image", started=3603, pool="arm64"))
    phases.add(status("e", "pushing layers", started=3604, completed=3605, pool="arm64"))
    phases.add(vertex("e", "exporting to image", started=3603, completed=3605, pool="arm64"))
    clock.now = T0 + 6
    phases.add(vertex("e", "exporting to image", started=3605, completed=3606, pool="arm64"))
    phases.add(vertex("r", "RUN make", started=3603, completed=3605, pool="arm64"))

    assert [line.split() for line in phases.table().splitlines()[2:-1]] == [
        ["context", "arm64", "1.00s", "1.00s"],
        ["export", "arm64", "3.00s", "3.00s"],
        ["push", "arm64", "4.00s", "1.00s"],
    ]


def test_phases_are_handed_on_and_told() -> None:
    passed: list[BuildEvent] = []
    told: list[Phase] = []
    phases = Phases(began=T0, clock=Clock())
    sink = phases.before(passed.append, tell=told.append)
    event = Phase(name="plan", began=T0, ended=T0 + 1)
    sink(event)
    sink(vertex("a"))

    assert passed == [event, vertex("a")]
    assert told == [event]


def test_timed_body_that_fails_is_a_phase_too() -> None:
    told: list[BuildEvent] = []
    try:
        with timed(told.append, "plan", "amd64"):
            raise ValueError
    except ValueError:
        pass

    assert [(event.name, event.pool) for event in told if isinstance(event, Phase)] == [("plan", "amd64")]
