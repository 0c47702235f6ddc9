from __future__ import annotations

import asyncio
import io
import subprocess
import sys

import pytest

from kubectl_build.model.events import Note
from kubectl_build.progress.display import Mode, open_display
from tests.unit.progress.builders import log, vertex
from tests.unit.progress.test_tty import Terminal

LIVE = "\x1b[?25l"


async def written(mode: Mode, stream: io.StringIO, environ: dict[str, str]) -> str:
    async with open_display(mode, stream, environ=environ) as display:
        display.update(Note(text="plan"))
        display.update(vertex("a", "RUN make", started=0, completed=1))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("mode", "terminal", "environ", "live"),
    [
        ("auto", True, {"TERM": "xterm"}, True),
        ("auto", True, {"TERM": "dumb"}, False),
        ("auto", True, {"TERM": "xterm", "CI": "true"}, False),
        ("auto", False, {"TERM": "xterm"}, False),
        ("tty", True, {"TERM": "xterm", "CI": "true"}, True),
        ("tty", True, {"TERM": "dumb"}, False),
        ("tty", False, {"TERM": "xterm"}, False),
        ("plain", True, {"TERM": "xterm"}, False),
    ],
)
async def test_display_is_live_only_where_that_is_possible(mode: Mode, terminal: bool, environ: dict[str, str], live: bool) -> None:
    text = await written(mode, Terminal() if terminal else io.StringIO(), environ)

    assert live == (LIVE in text)
    assert live != text.startswith("#0 plan\n\n#1 RUN make\n#1 DONE 1.0s\n")


async def test_display_rawjson_writes_objects_also_to_a_terminal() -> None:
    text = await written("rawjson", Terminal(), {"TERM": "xterm"})

    assert all(line.startswith("{") for line in text.splitlines())


async def test_display_quiet_writes_nothing() -> None:
    assert await written("quiet", Terminal(), {"TERM": "xterm"}) == ""


@pytest.mark.parametrize("mode", ["plain", "tty", "rawjson"])
async def test_display_closed_stream_does_not_disturb_the_build(mode: Mode) -> None:
    stream = Terminal()
    stream.close()
    async with open_display(mode, stream, environ={"TERM": "xterm"}) as display:
        display.update(vertex("a", "RUN make", started=0))


async def test_display_draws_the_last_picture_when_the_build_raises() -> None:
    stream = Terminal()

    async def build() -> None:
        async with open_display("tty", stream, environ={"TERM": "xterm"}) as display:
            display.update(vertex("a", "RUN make", started=0))
            raise RuntimeError("the build broke")

    with pytest.raises(RuntimeError, match="the build broke"):
        await build()

    assert "Stopped" in stream.getvalue()


class Watched(io.StringIO):
    """Tells when `awaited` has been written."""

    def __init__(self, awaited: str) -> None:
        super().__init__()
        self._awaited = awaited
        self._loop = asyncio.get_running_loop()
        self.seen = asyncio.Event()

    def flush(self) -> None:
        if self._awaited in self.getvalue():
            self._loop.call_soon_threadsafe(self.seen.set)


async def test_display_events_in_a_burst_are_drawn_by_its_own_timer() -> None:
    stream = Watched("#1000 DONE")
    async with open_display("plain", stream, environ={}) as display:
        for number in range(1000):
            display.update(vertex(f"v{number}", f"RUN {number}", started=0, completed=1))
        await stream.seen.wait()

    assert stream.getvalue().count("DONE 1.0s") == 1000


async def test_display_events_after_the_end_are_dropped() -> None:
    stream = io.StringIO()
    async with open_display("plain", stream, environ={}) as display:
        pass
    display.update(Note(text="late"))

    assert stream.getvalue() == ""


async def test_display_heavy_output_is_shown_whole_in_plain() -> None:
    stream = io.StringIO()
    async with open_display("plain", stream, environ={}) as display:
        display.update(vertex("a", "RUN make", started=0))
        for _ in range(1000):
            display.update(log("a", b"a line of output\n" * 100))

    assert stream.getvalue().count("a line of output\n") == 100_000


def test_display_plain_does_not_import_rich() -> None:
    code = "import kubectl_build.progress.display, sys; sys.exit('rich' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
