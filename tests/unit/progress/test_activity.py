"""What a build was doing, in words."""

from __future__ import annotations

from kubectl_build.model.events import BuildEvent, Note, StatusUpdate, Vertex
from kubectl_build.progress.activity import Activity


def said(*events: BuildEvent) -> str:
    activity = Activity()
    for event in events:
        activity.add(event)
    return activity.words()


def step(name: str, *, done: bool = False, pool: str = "") -> StatusUpdate:
    return StatusUpdate(pool=pool, vertexes=(Vertex(digest=name, name=name, started=1.0, completed=2.0 if done else None),))


def test_activity_before_any_event_is_preparation() -> None:
    assert said(Note(text="a note")) == "being prepared: no step had begun"


def test_activity_is_what_is_waited_for() -> None:
    assert said(Note(text="waiting for builder b: its image is pulled", level="wait")) == "waiting for builder b: its image is pulled"


def test_activity_after_a_wait_is_over_is_the_step() -> None:
    assert said(Note(text="waiting", level="wait", pool="amd64"), step("[1/2] RUN a", pool="amd64")) == 'at "[1/2] RUN a"'


def test_activity_with_several_steps_is_the_newest_and_their_number() -> None:
    assert said(step("a"), step("b"), step("c")) == 'at "c" and 2 other steps'
    assert said(step("a"), step("b"), step("a", done=True)) == 'at "b"'


def test_activity_between_steps_is_the_last_one() -> None:
    assert said(step("a"), step("a", done=True)) == 'between steps, after "a"'
