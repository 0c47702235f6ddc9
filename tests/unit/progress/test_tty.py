from __future__ import annotations

import io
import re

import pytest
from rich.cells import cell_len

from kubectl_build.model.events import BuildEvent, Note, Phase, Placed, Reached, Sending
from kubectl_build.progress.picture import Picture
from kubectl_build.progress.state import State
from kubectl_build.progress.tty import TtyView
from tests.unit.progress.builders import T0, log, status, vertex, warning

BUILD = (
    vertex("def", "[internal] load build definition from Dockerfile", started=0, completed=0.1),
    vertex("from", "[1/3] FROM docker.io/library/busybox", started=0.1, completed=0.1, cached=True),
    vertex("ctx", "[internal] load build context", started=0.1),
    Sending(name="context", expected=10_000_000),
    status("ctx", "transferring context:", current=5_000_000, started=0.1, now=2.1),
    vertex("run", "[2/3] RUN make 日本語", started=0.2),
    log("run", b"\x1b[32mcc\x1b[0m one\n\ntwo 10%\rtwo 20%\n"),
)


class Terminal(io.StringIO):
    """A stream that says that it is a terminal, of the size in the environment."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def state_of(*events: BuildEvent) -> State:
    state = State(log_limit=20)
    for event in events:
        if isinstance(event, Note):
            state.note(event)
        elif isinstance(event, Placed):
            state.place(event)
        elif isinstance(event, Reached):
            state.reach(event)
        elif isinstance(event, Sending):
            state.send(event)
        elif isinstance(event, Phase):
            continue
        else:
            state.update(event, T0)
    return state


def live(*events: BuildEvent, width: int = 80, height: int = 24, encoding: str = "utf-8", now: float = 4.0) -> list[str]:
    picture = Picture(state_of(*events), encoding=encoding, began=T0)
    return [line.plain for line in picture.live(T0 + now, width, height)]


def test_live_picture_shows_steps_transfers_and_output() -> None:
    assert live(*BUILD) == [
        "Building  4.0s  2/4 steps  1 cached",
        " ✔ 2 steps done, 1 cached",
        " ⠋      load build context                                                 3.9s",
        "        transferring context:  ━━━━━━━━━━──────────  5.00MB / 10.00MB  2.50MB/s",
        " ⠋ 2/3  RUN make 日本語                                                    3.8s",
        "        │ cc one",
        "        │ two 20%",
    ]


SENT = (
    vertex("a", "[internal] load build context", pool="amd64", started=0),
    vertex("b", "[internal] load build context", pool="arm64", started=0),
    status("a", "transferring context:", pool="amd64", current=5_000_000, started=0, now=2),
    status("b", "transferring context:", pool="arm64", current=5_000_000, started=0, now=2),
)


def test_live_picture_layer_whose_size_the_daemon_tells_has_a_bar() -> None:
    layer = status("from", "sha256:abc", current=5_000_000, total=20_000_000, started=0, now=2)
    shown = live(vertex("from", "[1/2] FROM busybox", started=0), layer, width=90)
    assert shown[-1].endswith("━━━━━───────────────  5.00MB / 20.00MB  2.50MB/s")


def test_live_picture_context_of_unknown_size_has_no_bar_and_each_pool_its_own() -> None:
    sending = Sending(name="context", expected=20_000_000, pool="arm64")
    assert [line.split(":")[1].strip() for line in live(*SENT, sending, width=90) if "transferring" in line] == [
        "5.00MB  2.50MB/s",
        "━━━━━───────────────  5.00MB / 20.00MB  2.50MB/s",
    ]


def test_live_picture_context_that_is_more_than_was_told_has_a_full_bar_and_none_when_it_is_not_known_any_more() -> None:
    told = Sending(name="context", expected=4_900_000, pool="arm64")
    lines = [live(*SENT[1:2], SENT[3], told, *more, width=90)[-1] for more in ((), (Sending(name="context", expected=0, pool="arm64"),))]
    assert lines[0].endswith("━━━━━━━━━━━━━━━━━━━━  5.00MB / 5.00MB  2.50MB/s")
    assert lines[1].split() == ["transferring", "context:", "5.00MB", "2.50MB/s"]


def test_live_picture_narrow_terminal_has_no_bar_no_stages_and_cuts_names() -> None:
    assert live(*BUILD, width=28)[:4] == [
        "Building  4.0s  2/4 steps …",
        " ✔ 2 steps done, 1 cached",
        " ⠋ load build context  3.9s",
        "   transferring context:",
    ]


MIXED = (
    Placed(platform="linux/amd64", mode="native", pool="amd64", why="amd64 runs it"),
    Placed(platform="linux/arm/v7", mode="QEMU", pool="amd64", why="no node of arm"),
    Placed(platform="linux/arm64", mode="native", pool="arm64", why="its steps run on arm64"),
    Reached(pool="amd64", name="buildkit-amd64-0", node="node-1"),
)


def test_live_picture_has_a_line_for_each_platform_and_columns() -> None:
    assert live(
        *MIXED,
        vertex("a", "[linux/amd64 build 2/3] RUN make", pool="amd64", started=0, completed=1),
        vertex("b", "[linux/amd64 3/3] COPY a b", pool="amd64", started=1),
        vertex("c", "[linux/arm/v7 build 2/3] RUN make", pool="amd64", started=0),
        vertex("d", "[internal] load build context", pool="arm64", started=0),
        Note(text="the pod is being prepared", level="wait", pool="arm64"),
    ) == [
        "Building  4.0s  1/4 steps",
        "  linux/amd64   native  buildkit-amd64-0 on node-1              ━━━━━─────  1/2",
        "  linux/arm/v7  QEMU    buildkit-amd64-0 on node-1              ──────────  0/1",
        "  linux/arm64   native  pool arm64",
        "",
        " ✔ amd64   build 2/3  RUN make                                             1.0s",
        " ⠋ amd64   3/3        COPY a b                                             3.0s",
        " ⠋ arm/v7  build 2/3  RUN make                                       QEMU  4.0s",
        " ⠋ arm64              load build context                                   4.0s",
        " ◌ the pod is being prepared",
    ]


def test_live_picture_counts_of_platforms_end_in_one_column_and_bars_begin_in_one() -> None:
    places = [Placed(platform=f"linux/{arch}", mode="native", pool=arch, why="") for arch in ("amd64", "arm64")]
    steps = [vertex(f"a{n}", f"[linux/amd64 {n}/10] RUN {n}", started=0, completed=1) for n in range(1, 11)]
    steps.append(vertex("b", "[linux/arm64 1/2] RUN b", started=0))
    amd64, arm64 = live(*places, *steps, width=80)[1:3]
    assert amd64.endswith("━━━━━━━━━━  10/10")
    assert arm64.endswith("──────────    0/1")


def test_live_picture_platforms_without_room_are_named_in_the_last_line() -> None:
    modes = {"amd64": "native", "arm64": "native", "s390x": "QEMU"}
    places = [Placed(platform=f"linux/{arch}", mode=mode, pool=arch, why="") for arch, mode in modes.items()]
    lines = live(*places, vertex("a", "[linux/amd64 1/2] RUN a", started=0), width=40, height=12)
    assert lines[1:3] == ["  amd64  native  pool amd64         0/1", "  … and arm64 native, s390x QEMU"]


def test_live_picture_of_many_platforms_has_a_line_for_each_pool_and_mode() -> None:
    places = [Placed(platform=f"linux/{name}", mode="cross", pool="amd64") for name in ("386", "amd64", "arm64", "s390x", "arm/v7")]

    assert live(*places, vertex("a", "x", started=0))[:2] == [
        "Building  4.0s  0/1 steps",
        "  386, amd64, arm64, s390x,…  cross  pool amd64",
    ]


def test_live_picture_wraps_a_long_reason_for_waiting() -> None:
    wait = Note(text="waiting for builder b: 0/3 nodes are available: 3 node(s) had untolerated taint gpu", level="wait")

    assert live(wait, width=60) == [
        "Building  4.0s",
        " ◌ waiting for builder b: 0/3 nodes are available: 3",
        "   node(s) had untolerated taint gpu",
    ]


def test_live_picture_says_once_what_emulation_costs_and_how_to_avoid_it() -> None:
    steps = [vertex(f"c{n}", f"[linux/arm/v7 {n}/3] RUN make", pool="amd64", started=0) for n in (2, 3)]
    lines = live(*MIXED, *steps)

    assert lines[-2:] == [
        " ! emulated: linux/arm/v7 ran 8s under QEMU; a node of that architecture, or",
        "   cross-compiling (FROM --platform=$BUILDPLATFORM), avoids it",
    ]
    assert sum("emulated" in line for line in lines) == 1


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("height", [1, 2, 3, 5, 10, 50])
@pytest.mark.parametrize("width", [1, 2, 5, 13, 20, 40, 80, 200])
def test_live_picture_fits_any_terminal(width: int, height: int, encoding: str) -> None:
    many = [vertex(f"s{n}", f"[{n}/40] RUN 日本 {'x' * n}", started=0, completed=None if n % 3 else 1) for n in range(40)]
    logs = [log(f"s{n}", b"output\twith a tab and many more words than fit\n" * 9) for n in range(40)]
    waits = [Note(text=f"waiting {n}", level="wait", pool=str(n)) for n in range(3)]
    lines = live(*BUILD, *many, *logs, *waits, width=width, height=height, encoding=encoding)

    assert len(lines) <= max(1, height - 1)
    assert all(cell_len(line) <= max(1, width - 1) for line in lines)
    assert all(line.encode(encoding) for line in lines)


def test_live_picture_low_terminal_names_what_it_leaves_out() -> None:
    steps = [vertex(f"s{n}", f"RUN {n}", started=0) for n in range(9)]

    assert [line.split("  ")[0] for line in live(*steps, height=6)[1:]] == [" ⠋ RUN 6", " ⠋ RUN 7", " ⠋ RUN 8", " … 6 more running"]


def test_live_picture_shows_what_each_pool_waits_for() -> None:
    waits = [
        Note(text="pod a: pulling the image", level="wait", pool="amd64"),
        Note(text="pod b: unschedulable", level="wait", pool="arm64"),
    ]

    assert live(*waits) == ["Building  4.0s", " ◌ pod a: pulling the image", " ◌ pod b: unschedulable"]


def test_live_picture_before_anything_is_empty() -> None:
    assert live() == []


def final(*events: BuildEvent) -> list[str]:
    return [line.plain for line in Picture(state_of(*events), encoding="utf-8", began=T0).final(T0 + 5, 60)]


def test_final_picture_counts_the_steps_and_names_the_slow_ones() -> None:
    assert final(
        vertex("from", "[1/3] FROM busybox", started=0, completed=0, cached=True),
        vertex("copy", "[2/3] COPY a b", started=0, completed=0.1),
        vertex("run", "[3/3] RUN make", started=0, completed=1),
        vertex("export", "exporting to image", started=1, completed=1.5),
        status("export", "exporting manifest sha256:0a1b", started=1, completed=1.5),
    ) == [
        "Finished  5.0s  4 steps  1 cached",
        " ✔ 3 steps done, 1 cached",
        " ✔ 3/3  RUN make                                       1.0s",
    ]


def test_final_picture_verbose_has_every_step() -> None:
    state = state_of(
        vertex("from", "[1/2] FROM busybox", started=0, completed=0, cached=True), vertex("run", "[2/2] RUN make", started=0, completed=0.2)
    )
    picture = Picture(state, encoding="utf-8", began=T0, verbose=True)

    assert [line.plain for line in picture.final(T0 + 5, 60)] == [
        "Finished  5.0s  2 steps  1 cached",
        " ✔ 1/2  FROM busybox                                 cached",
        " ✔ 2/2  RUN make                                       0.2s",
    ]


def test_final_picture_of_a_failure_names_what_failed_and_counts_the_rest() -> None:
    assert final(
        vertex("slow", "[1/3] RUN sleep", started=0, completed=3),
        vertex("a", "[2/3] RUN false", started=0, completed=1, error="exit code: 1"),
        vertex("b", "RUN sleep", started=0, completed=1, error="context canceled"),
        vertex("c", "RUN more", started=0),
    ) == [
        "Failed  5.0s  3/4 steps",
        " ✔ 1 step done",
        " ○ 2 steps canceled",
        " ✘ 2/3  RUN false                                      1.0s",
    ]


def test_final_picture_of_an_interrupted_build_names_what_was_stopped() -> None:
    assert final(
        vertex("b", "RUN sleep", started=0, completed=1, error="context canceled"),
        vertex("c", "RUN more", started=0),
    ) == [
        "Stopped  5.0s  1/2 steps",
        " ○ RUN sleep                                       canceled",
        " ○ RUN more                                         stopped",
    ]


def screen(written: str) -> list[str]:
    """What a terminal shows after `written`: text, line ends, carriage returns, cursor up, erase. It is as high as needed."""
    rows, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[\d*[A-Z]|\n|\r|[^\x1b\n\r]+", written):
        if token == "\n":
            row, column = row + 1, 0
            rows += [""] * (row + 1 - len(rows))
        elif token == "\r":
            column = 0
        elif token == "\x1b[K":
            rows[row] = rows[row][:column]
        elif token == "\x1b[J":
            rows[row:] = [rows[row][:column]]
        elif token.startswith("\x1b"):
            row = max(0, row - int(token[2:-1]))
        else:
            rows[row] = rows[row][:column] + token + rows[row][column + len(token) :]
            column += len(token)
    return rows


def strip(written: str) -> str:
    """Without colours and without what the small screen above does not know."""
    return re.sub(r"\x1b\[[0-9;]*m|\x1b\[\?\d+[hl]", "", written)


def test_tty_notes_stay_above_the_picture_that_is_drawn_over_itself() -> None:
    view = TtyView(Terminal(), {"COLUMNS": "60", "LINES": "20"}, began=T0)
    written = ""
    events: list[BuildEvent] = [Note(text="plan\nlinux/amd64  native"), *BUILD[:2], Note(text="careful", level="warning"), *BUILD[2:]]
    for number, event in enumerate(events):
        view.apply(event, T0)
        written += view.refresh(T0 + number)
    view.apply(vertex("ctx", "[internal] load build context", started=0.1, completed=3), T0)
    view.apply(vertex("run", "[2/3] RUN make 日本語", started=0.2, completed=3), T0)
    written += view.finish(T0 + 9)

    assert [line.rstrip() for line in screen(strip(written))] == [
        "plan",
        "linux/amd64  native",
        "warning: careful",
        "Finished  9.0s  4 steps  1 cached",
        " ✔ 2 steps done, 1 cached",
        " ✔      load build context                     5.00MB  2.9s",
        " ✔ 2/3  RUN make 日本語                                2.8s",
        "",
    ]


def test_tty_narrower_terminal_goes_up_over_the_lines_that_it_broke() -> None:
    environ = {"COLUMNS": "80", "LINES": "20"}
    view = TtyView(Terminal(), environ, began=T0)
    view.apply(vertex("a", "x" * 60, started=0), T0)
    first = view.refresh(T0 + 1)
    environ["COLUMNS"] = "40"
    second = view.refresh(T0 + 2)

    assert first.count("\n") == 2
    assert "\r\x1b[3A" in second


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True)])
def test_tty_no_color_has_no_colour(environ: dict[str, str], coloured: bool) -> None:
    view = TtyView(Terminal(), environ, began=T0)
    for event in BUILD:
        view.apply(event, T0)
    written = view.refresh(T0)

    assert coloured == bool(re.search(r"\x1b\[[0-9;]*3[0-7]", written))


def test_tty_every_picture_leaves_cursor_and_wrapping_as_they_were() -> None:
    view = TtyView(Terminal(), {}, began=T0)
    for event in BUILD:
        view.apply(event, T0)
        written = view.refresh(T0)

        assert written.endswith("\x1b[?7h\x1b[?25h\x1b[?2026l")


def test_tty_build_without_steps_writes_only_its_notes() -> None:
    view = TtyView(Terminal(), {}, began=T0)
    view.apply(Note(text="waiting for the pod", level="wait"), T0)
    written = view.refresh(T0)
    view.apply(Note(text="the pod cannot be placed", level="warning"), T0)
    written += view.finish(T0)

    assert screen(strip(written)) == ["warning: the pod cannot be placed", ""]


@pytest.mark.parametrize(("environ", "colour"), [({}, "\x1b[33m"), ({"NO_COLOR": "1"}, "")])
def test_tty_warnings_follow_the_last_picture_with_their_count_in_yellow(environ: dict[str, str], colour: str) -> None:
    view = TtyView(Terminal(), environ, began=T0)
    view.apply(vertex("def", "[internal] load build definition", started=0), T0)
    view.apply(warning("def", "StageNameCasing: A (line 1)"), T0)
    written = view.refresh(T0)
    assert "warning found" not in written
    written += view.finish(T0)

    assert screen(strip(written))[-4:] == ["", " 1 warning found (use --debug to expand):", " - StageNameCasing: A (line 1)", ""]
    assert f"{colour} 1 warning found" in written
