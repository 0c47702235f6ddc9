"""The texts are what moby/buildkit's own plain printer (v0.31.2) writes for the same events, but for notes and pools, which it has not."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from kubectl_build.model.events import BuildEvent, Note, Placed
from kubectl_build.progress.plain import PlainView
from tests.unit.progress.builders import T0, log, status, vertex, warning


def shown(*events: BuildEvent, every: float = 0.1) -> str:
    """The text of a build whose events come `every` so many seconds, each drawn before the next."""
    view, text, now = PlainView(), "", T0
    for event in events:
        view.apply(event, now)
        text += view.refresh(now)
        now += every
    return text + view.finish(now)


def test_plain_whole_build_reads_like_buildx() -> None:
    text = shown(
        vertex("def", "[internal] load build definition from Dockerfile"),
        vertex("def", "[internal] load build definition from Dockerfile", started=0),
        status("def", "transferring dockerfile:", current=123, started=0, completed=0.001),
        vertex("def", "[internal] load build definition from Dockerfile", started=0, completed=0.04),
        vertex("from", "[1/2] FROM docker.io/library/busybox", started=1, completed=1, cached=True),
        vertex("run", "[2/2] RUN make", started=1),
        log("run", b"compiling\nlinking\n", now=1.5),
        vertex("run", "[2/2] RUN make", started=1, completed=3.25),
        vertex("export", "exporting to image", started=4),
        status("export", "exporting layers", started=4, completed=4.5),
        status("export", "exporting manifest sha256:0a1b2c", started=4.5, completed=4.501),
        vertex("export", "exporting to image", started=4, completed=4.6),
    )

    assert (
        text
        == """\
#1 [internal] load build definition from Dockerfile
#1 transferring dockerfile: 123B done
#1 DONE 0.0s

#2 [1/2] FROM docker.io/library/busybox
#2 CACHED

#3 [2/2] RUN make
#3 0.500 compiling
#3 0.500 linking
#3 DONE 2.2s

#4 exporting to image
#4 exporting layers 0.5s done
#4 exporting manifest sha256:0a1b2c done
#4 DONE 0.6s
"""
    )


def test_plain_export_line_is_what_kbld_reads() -> None:
    text = shown(
        vertex("export", "exporting to image", started=0),
        status("export", "exporting manifest sha256:0a1b2c", started=0),
        status("export", "exporting manifest sha256:0a1b2c", started=0, completed=0.5),
        vertex("export", "exporting to image", started=0, completed=1),
    )
    found = re.search(r"exporting manifest (sha256:)?([0-9a-z]+) ", text)

    assert found is not None
    assert found[2] == "0a1b2c"


def test_plain_failure_and_cancellation_end_their_steps() -> None:
    text = shown(
        vertex("a", "[1/2] RUN false", started=0),
        vertex("b", "[2/2] RUN sleep", started=0),
        vertex("a", "[1/2] RUN false", started=0, completed=1, error='process "/bin/sh -c false" did not complete: exit code: 1'),
        vertex("b", "[2/2] RUN sleep", started=0, completed=1, error="context canceled"),
    )

    assert (
        text
        == """\
#1 [1/2] RUN false
#1 ERROR: process "/bin/sh -c false" did not complete: exit code: 1

#2 [2/2] RUN sleep
#2 CANCELED
"""
    )


def test_plain_step_that_ends_beside_the_one_shown_interrupts_it() -> None:
    text = shown(
        vertex("a", "[a 1/1] RUN make", started=0),
        log("a", b"one\n", now=0.1),
        vertex("b", "[b 1/1] RUN true", started=0, completed=0.2),
        log("a", b"two\n", now=0.3),
        vertex("a", "[a 1/1] RUN make", started=0, completed=1),
    )

    assert (
        text
        == """\
#1 [a 1/1] RUN make
#1 0.100 one
#1 ...

#2 [b 1/1] RUN true
#2 DONE 0.2s

#1 [a 1/1] RUN make
#1 0.300 two
#1 DONE 1.0s
"""
    )


def test_plain_silent_step_gives_way_to_one_that_waited_long() -> None:
    events = [
        vertex("a", "RUN one", started=0),
        vertex("b", "RUN two", started=0),
        log("b", b"from two\n", now=1),
        *(log("a", b"from one\n", now=float(second)) for second in range(2, 14)),
    ]
    text = shown(*events, every=1.0)

    assert "#1 ...\n\n#2 RUN two\n#2 1.000 from two\n" in text


def test_plain_line_that_comes_in_parts_is_one_line() -> None:
    text = shown(
        vertex("a", "RUN wget", started=0),
        log("a", b"10%", now=1),
        log("a", b"...20%", now=2),
        log("a", b"...done\nnext\n", now=3),
        vertex("a", "RUN wget", started=0, completed=4),
    )

    assert text == "#1 RUN wget\n#1 1.000 10%...20%...done\n#1 3.000 next\n#1 DONE 4.0s\n"


def test_plain_partial_line_is_ended_by_a_status_and_by_the_step() -> None:
    text = shown(
        vertex("a", "RUN wget", started=0),
        log("a", b"10%", now=1),
        status("a", "layer", started=1, completed=1),
        log("a", b"20%", now=2),
        vertex("a", "RUN wget", started=0, completed=4),
    )

    assert text == "#1 RUN wget\n#1 1.000 10%\n#1 layer done\n#1 2.000 20%\n#1 DONE 4.0s\n"


def test_plain_transfer_is_told_every_five_seconds_or_twentieth() -> None:
    text = shown(
        vertex("a", "load build context", started=0),
        status("a", "transferring context:", current=1, total=1000, now=0.1),
        status("a", "transferring context:", current=10, total=1000, now=0.2),
        status("a", "transferring context:", current=100, total=1000, now=0.3),
        status("a", "transferring context:", current=110, total=1000, now=6.0),
        status("a", "transferring context:", current=1000, total=1000, now=6.1, completed=6.1),
        vertex("a", "load build context", started=0, completed=6.2),
    )

    assert (
        text
        == """\
#1 load build context
#1 transferring context: 1B / 1.00kB 0.1s
#1 transferring context: 100B / 1.00kB 0.3s
#1 transferring context: 110B / 1.00kB 6.0s
#1 transferring context: 1.00kB / 1.00kB 6.1s done
#1 DONE 6.2s
"""
    )


def test_plain_layer_of_the_same_name_in_two_steps_is_told_for_each() -> None:
    text = shown(
        vertex("a", "FROM a", started=0),
        status("a", "sha256:1", current=1, total=1000),
        vertex("a", "FROM a", started=0, completed=1),
        status("a", "sha256:1", current=1000, total=1000, completed=1),
        vertex("b", "FROM b", started=1),
        status("b", "sha256:1", current=1, total=1000),
        vertex("b", "FROM b", started=1, completed=2),
    )

    assert "#2 sha256:1 1B / 1.00kB\n" in text


def test_plain_warnings_of_the_frontend_belong_to_their_step_and_are_told_again_at_the_end() -> None:
    text = shown(
        vertex("a", "RUN make", started=0), warning("a", "JSONArgsRecommended: ..."), vertex("a", "RUN make", started=0, completed=1)
    )

    assert text == (
        "#1 RUN make\n#1 WARN: JSONArgsRecommended: ...\n#1 DONE 1.0s\n\n 1 warning found (use --debug to expand):\n"
        " - JSONArgsRecommended: ...\n"
    )


def test_plain_same_warning_of_two_pools_counts_once() -> None:
    text = shown(
        vertex("a", "[internal] load", started=0, pool="amd64"),
        vertex("b", "[internal] load", started=0, pool="arm64"),
        *(
            warning(digest, "StageNameCasing: A", pool=pool, line=1, data=b"FROM a AS A")
            for digest, pool in (("a", "amd64"), ("b", "arm64"))
        ),
        warning("b", "StageNameCasing: A", pool="arm64", line=2, data=b"FROM a AS A\nFROM b AS A"),
    )

    assert text.endswith("\n\n 2 warnings found (use --debug to expand):\n - StageNameCasing: A\n - StageNameCasing: A\n")


def test_plain_warning_in_full_has_its_detail_url_and_place_made_safe() -> None:
    view = PlainView(details=True)
    view.apply(vertex("a", "[internal] load", started=0), T0)
    view.apply(warning("a", "Bad: \x1b[2Jname", detail="why\nso", url="https://docs/x", line=2, data=b"FROM a\nRUN \x1b[2Jb\nRUN c"), T0)

    assert view.finish(T0).endswith(
        """\
\n 1 warning found:
 - Bad: name
why
so
More info: https://docs/x
Dockerfile:2
--------------------
   1 |     FROM a
   2 | >>> RUN b
   3 |     RUN c
--------------------

"""
    )


def test_plain_pools_mark_their_steps_as_buildx_marks_its_nodes() -> None:
    text = shown(
        Placed(platform="linux/amd64", mode="native", pool="amd64"),
        Placed(platform="linux/arm64", mode="native", pool="arm64"),
        vertex("a", "[internal] load build context", pool="amd64", started=0, completed=0),
        vertex("b", "[2/2] RUN make", pool="amd64", started=0, completed=1),
        vertex("b", "[2/2] RUN make", pool="arm64", started=0, completed=1, cached=True),
    )

    assert (
        text
        == """\
#1 [amd64 internal] load build context
#1 DONE 0.0s

#2 [amd64 2/2] RUN make
#2 DONE 1.0s

#3 [arm64 2/2] RUN make
#3 CACHED
"""
    )


def test_plain_says_last_what_emulation_has_cost() -> None:
    text = shown(
        Placed(platform="linux/arm64", mode="QEMU", pool="amd64", why="steps run on linux/arm64, --emulation=always"),
        vertex("b", "[2/2] RUN make", started=0, completed=90),
    )

    assert text.endswith(
        "#0 emulated: linux/arm64 ran 90s under QEMU; a node of that architecture without --emulation=always, or cross-compiling "
        "(FROM --platform=$BUILDPLATFORM), avoids it\n"
    )


def test_plain_notes_are_step_zero_and_interrupt_the_one_shown() -> None:
    text = shown(
        Note(text="PLATFORM  MODE\nlinux/amd64  native"),
        Note(text="no right to watch pods", level="warning"),
        vertex("a", "RUN make", started=0),
        log("a", b"one", now=1),
        Note(text="connection lost; trying again"),
        log("a", b" and two\n", now=1),
        vertex("a", "RUN make", started=0, completed=2),
    )

    assert (
        text
        == """\
#0 PLATFORM  MODE
#0 linux/amd64  native
#0 WARN: no right to watch pods

#1 RUN make
#1 1.000 one
#1 ...

#0 connection lost; trying again

#1 RUN make
#1 1.000 one and two
#1 DONE 2.0s
"""
    )


def test_plain_wait_is_said_once_until_its_pool_moves_on() -> None:
    arm = Note(text="arm64: pulling the image", level="wait", pool="arm64")
    amd = Note(text="amd64: pulling the image", level="wait", pool="amd64")
    over = Note(text="", level="wait", pool="arm64")
    text = shown(arm, amd, arm, amd, over, arm, vertex("a", "RUN", pool="amd64"), vertex("a", "RUN", pool="arm64"), arm)

    assert text == "#0 arm64: pulling the image\n#0 amd64: pulling the image\n#0 arm64: pulling the image\n"


def test_plain_build_that_breaks_off_shows_what_came_and_ends_its_line() -> None:
    text = shown(vertex("a", "RUN one", started=0), vertex("b", "RUN two", started=0), log("b", b"hidden so far\n"), log("a", b"part"))

    assert text == "#1 RUN one\n#1 0.000 part\n#1 ...\n\n#2 RUN two\n#2 0.000 hidden so far\n"


def test_plain_names_and_output_cannot_move_the_terminal() -> None:
    text = shown(
        vertex("a", "RUN \x1b[2Jclear", started=0),
        log("a", b"\x1b[31mred\x1b[0m \x1b[10Aup 1%\r2%\r\n"),
        vertex("a", "RUN \x1b[2Jclear", started=0, completed=1, error="bad \x1b]0;title\x07end"),
    )

    assert text == "#1 RUN clear\n#1 0.000 \x1b[31mred\x1b[0m up 1%\r2%\r\n#1 ERROR: bad end\n"


LINE = re.compile(r"#\d+ \S.*|")


@given(st.data())
def test_plain_any_build_keeps_the_grammar_and_every_line(data: st.DataObject) -> None:
    """Every line is empty or begins with a number that has been introduced; no output is lost or said in the wrong step."""
    count = data.draw(st.integers(1, 4))
    events: list[BuildEvent] = [vertex(f"v{n}", f"name {n}") for n in range(count)]
    written: dict[int, list[str]] = {n: [] for n in range(count)}
    started: set[int] = set()
    for number in range(data.draw(st.integers(0, 25))):
        n = data.draw(st.integers(0, count - 1))
        if n not in started:
            started.add(n)
            events.append(vertex(f"v{n}", f"name {n}", started=0))
        events.append(log(f"v{n}", f"line {number}\n".encode()))
        written[n].append(f"line {number}")
        if data.draw(st.booleans()):
            events.append(Note(text="note") if data.draw(st.booleans()) else status(f"v{n}", "part", current=number))
    events += [vertex(f"v{n}", f"name {n}", started=0, completed=1) for n in started]
    text = shown(*events, every=data.draw(st.sampled_from([0.01, 1.0, 7.0])))

    lines = text.splitlines()
    assert all(LINE.fullmatch(line) for line in lines)
    names = {m[1]: int(m[2]) for m in re.finditer(r"^#(\d+) name (\d+)$", text, re.M)}
    said: dict[int, list[str]] = {n: [] for n in range(count)}
    for found in re.finditer(r"^#(\d+) \d\.\d+ (line \d+)$", text, re.M):
        said[names[found[1]]].append(found[2])
    assert written == said
    assert len(started) == text.count(" DONE 1.0s\n")
