"""From events to facts: what ran where, when and why, from one pool and from several."""

from __future__ import annotations

from kubectl_build.model.events import Phase, StatusUpdate, Vertex, VertexGroup
from kubectl_build.model.observed import StepOrigin
from kubectl_build.report.collect import Collector
from kubectl_build.report.facts import StepFacts
from tests.unit.report.builds import T0, at, begun, ran, said, sent, whole_build


def named(collector: Collector, part: str) -> StepFacts:
    return next(step for step in collector.facts().steps if part in step.name)


def test_collect_emulated_step_is_the_one_whose_platform_the_pool_does_not_run() -> None:
    facts = whole_build().facts()
    assert [step.name for step in facts.steps if step.emulated] == ["[linux/arm64 build 3/3] RUN make all"]
    assert named(whole_build(), "linux/arm64").runs_on == "linux/arm64"


def test_collect_cached_foreign_step_was_not_emulated() -> None:
    collector = Collector(live=False)
    collector.observe(begun(steps={"run": StepOrigin(runs_on="linux/arm64", platforms=("linux/arm64",))}))
    collector.event(ran("run", "[2/2] RUN make", 0, 0, cached=True), T0)
    assert not named(collector, "RUN").emulated


def test_collect_output_is_lines_without_escapes_and_overwritten_text() -> None:
    assert named(whole_build(), "linux/amd64").log == ("compiling", "red", "progress 99%", "last")


def test_collect_much_output_keeps_the_end_and_counts_the_rest() -> None:
    collector = Collector(live=False)
    collector.event(ran("run", "[1/1] RUN yes", 0, 1), T0)
    for number in range(100):
        collector.event(said("run", b"".join(b"line %d of many that are all rather long\n" % (number * 1000 + i) for i in range(1000))), T0)
    step = named(collector, "yes")
    assert step.log[-1].startswith("line 99999 ")
    assert step.dropped == 100_000 - len(step.log)
    assert sum(map(len, step.log)) < 300_000


def test_collect_output_of_a_step_that_was_never_announced_is_left_out() -> None:
    collector = Collector(live=False)
    collector.event(said("unknown", b"hello\n"), T0)
    assert collector.facts().steps == ()


def test_collect_context_is_a_transfer_with_bytes_and_seconds() -> None:
    (transfer,) = whole_build().facts().transfers
    assert (transfer.what, transfer.size, transfer.seconds) == ("context", 4_000_000, 2.0)


def test_collect_same_digest_in_two_pools_is_two_steps_with_their_own_origins() -> None:
    collector = Collector(live=False)
    origin = {"run": StepOrigin(platforms=("linux/arm64",), runs_on="linux/arm64", spans=((0, 1, 1),))}
    collector.observe(begun("amd64", label="amd64"))
    collector.observe(begun("arm64", label="arm64", steps=origin))
    for pool in ("amd64", "arm64"):
        collector.event(ran("run", "[1/1] RUN make", 0, 1, pool=pool), T0)
    facts = collector.facts()
    assert [(step.pool, step.platforms, step.emulated) for step in facts.steps] == [
        ("amd64", (), False),
        ("arm64", ("linux/arm64",), False),
    ]
    assert len(facts.sources) == 1


def test_collect_vertices_of_a_group_are_one_step_that_waits_for_what_they_wait_for() -> None:
    collector = Collector(live=False)
    group = VertexGroup(id="g", name="[2/2] COPY a b")
    collector.event(ran("from", "[1/2] FROM busybox", 0, 1), T0)
    parts = [
        Vertex(digest="a", name="part a", inputs=("from",), started=at(1), completed=at(2), group=group),
        Vertex(digest="b", name="part b", inputs=("a",), started=at(2), completed=at(4), group=group),
    ]
    collector.event(StatusUpdate(vertexes=tuple(parts)), T0)
    step = named(collector, "COPY")
    assert (step.seconds, step.inputs) == (3.0, (("", "from"),))


def test_collect_clock_of_a_live_daemon_is_set_by_ours() -> None:
    collector = Collector(live=True)
    collector.event(ran("a", "[1/1] RUN a", 0, 1), T0 + 101)
    collector.event(ran("b", "[1/1] RUN b", 1, 2), T0 + 102.5)
    assert [step.start - T0 for step in collector.facts().steps] == [100, 101]


def test_collect_step_that_never_ended_has_no_stop() -> None:
    collector = Collector(live=False)
    collector.event(ran("a", "[1/1] RUN sleep", 0, None), T0)
    facts = collector.facts(began=T0, ended=T0 + 5)
    assert facts.steps[0].stop is None
    assert facts.critical == ()


def test_collect_platforms_have_mode_and_layers_or_say_that_these_are_not_known() -> None:
    amd64, arm64 = whole_build().facts().platforms
    assert (amd64.mode, arm64.mode, arm64.layers) == ("native", "QEMU", None)
    assert amd64.layers is not None
    assert [layer.size for layer in amd64.layers] == [1_000_000, 500]


def test_collect_transfer_of_nothing_is_none() -> None:
    collector = Collector(live=False)
    collector.event(ran("context", "[internal] load build context", 0, 1), T0)
    collector.event(sent("context", "context", 0, 0, 1), T0)
    assert collector.facts().transfers == ()


def test_collect_own_work_of_the_command_comes_first_and_is_a_part_of_the_critical_path() -> None:
    collector = Collector(live=False)
    collector.event(ran("a", "[1/1] RUN a", 30, 31), T0)
    for name, began, ended in (("builder", 0, 30), ("connect", 30, 30.01), ("solve", 30, 31), ("index", 31, 40)):
        collector.event(Phase(name=name, began=at(began), ended=at(ended), pool="amd64" if name == "index" else ""), T0)
    facts = collector.facts()
    assert [step.name for step in facts.steps] == ["find the builder", "[1/1] RUN a", "write the index through amd64"]
    assert [pool.pool for pool in facts.pools] == ["this command", "all pools"]
    assert [key[1] for key in facts.critical] == ["0", "a", "3"]
    assert facts.ended - facts.began == 40
