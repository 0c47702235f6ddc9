"""What a person sees: builds in a real terminal, its screen read while they run and when they have ended."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.e2e.kubectl import Namespace
from tests.terminal import Terminal, open_terminal

SECONDS = 120.0
DOCKERFILE = """\
FROM busybox AS one
RUN i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo line $i; sleep 0.1; done; echo done >/one
FROM busybox
COPY --from=one /one /one
"""
FAILING = """\
FROM busybox
RUN echo before the end; exit 3
"""

OpenTerminal = Callable[..., AbstractContextManager[Terminal]]


@pytest.fixture
def opened(namespace: Namespace, tmp_path: Path) -> OpenTerminal:
    def open_(columns: int, rows: int, **variables: str) -> AbstractContextManager[Terminal]:
        return open_terminal(tmp_path, cwd=tmp_path, columns=columns, rows=rows, variables=namespace.kubectl.variables | variables)

    return open_


@pytest.fixture
def build(context: Callable[..., Path]) -> Callable[..., str]:
    """A command line that builds a Dockerfile and says its exit code."""

    def command(dockerfile: str, *args: str) -> str:
        return f"clear; {shlex.join(['kubectl', 'build', str(context({'Dockerfile': dockerfile})), *args])}; echo exit code $?"

    return command


def _ended(screen: list[str]) -> bool:
    return any(line.startswith("exit code ") for line in screen)


def test_terminal_shows_both_pools_in_one_picture_and_leaves_a_summary(
    opened: OpenTerminal, build: Callable[..., str], namespace: Namespace
) -> None:
    name = f"{namespace.cluster.registry}/{namespace.repository()}:1"
    flags = ("-t", name, "--push", "--registry-secret=my-secret", "--platform=linux/amd64,linux/arm64")
    with opened(100, 30) as terminal:
        terminal.type(build(DOCKERFILE, *flags))
        running = terminal.wait(lambda screen: sum("│ line" in line for line in screen) > 4, "output of both pools", seconds=SECONDS)
        terminal.wait(_ended, "the end", seconds=SECONDS)
        last = terminal.screen(history=True)

    assert sum(line.startswith("Building  ") for line in running) == 1
    places = [line.split()[:5] for line in running if line.startswith("  linux/")]
    assert places == [[f"linux/{arch}", "native", f"buildkit-{arch}-0", "on", f"{arch}-0"] for arch in ("amd64", "arm64")]
    steps = [line.split()[1:4] for line in running if "RUN i=0" in line]
    assert sorted(steps) == [["amd64", "one", "2/2"], ["arm64", "one", "2/2"]]
    assert last[-1] == "exit code 0"
    assert not any("Building" in line or "│ line" in line for line in last)
    assert sum(line.startswith("Finished  ") for line in last) == 1
    assert sum("RUN i=0" in line for line in last) == 2
    assert f"pushed {name}@sha256:" in "".join(last)


def test_terminal_low_and_narrow_picture_fits_and_failure_ends_with_its_reason(opened: OpenTerminal, build: Callable[..., str]) -> None:
    with opened(50, 12) as terminal:
        terminal.type(build(DOCKERFILE, "--no-cache", "--platform=linux/amd64"))
        running = terminal.wait(lambda screen: any("│ line 9" in line for line in screen), "output", seconds=SECONDS)
        assert sum(line.startswith("Building  ") for line in running) == 1
        terminal.wait(_ended, "the end", seconds=SECONDS)
        assert sum(line.startswith("Building  ") for line in terminal.screen(history=True)) == 0

    with opened(50, 12) as terminal:  # a new one: on the old screen stands how the first build ended
        terminal.type(build(FAILING, "--no-cache", "--platform=linux/amd64"))
        terminal.wait(_ended, "the end of the failing build", seconds=SECONDS)
        last = terminal.screen(history=True)

    assert any(line.startswith("Failed  ") for line in last)
    assert any(line.startswith((" ✘ 2/2  RUN", " ✘ RUN")) for line in last)
    assert "before the end" in last
    assert "   2 | >>> RUN echo before the end; exit 3" in last
    assert last[-1] == "exit code 1"


@pytest.mark.parametrize(
    ("variables", "args", "expected"),
    [
        ({"PYTHONIOENCODING": "ascii"}, (), " + "),
        ({"CI": "true"}, (), "#1 [internal] load build definition"),
        ({}, ("--progress=plain",), "#1 [internal] load build definition"),
        ({}, ("-q", "--output=type=image,name=quiet"), "sha256:"),
    ],
    ids=["ascii", "ci", "plain", "quiet"],
)
def test_terminal_that_is_not_for_pictures_gets_plain_text(
    opened: OpenTerminal, build: Callable[..., str], variables: dict[str, str], args: tuple[str, ...], expected: str
) -> None:
    with opened(100, 30, **variables) as terminal:
        terminal.type(build(DOCKERFILE, "--platform=linux/amd64", *args))
        terminal.wait(_ended, "the end", seconds=SECONDS)
        last = terminal.screen(history=True)

    assert last[-1] == "exit code 0"
    assert any(line.startswith(expected) for line in last)
    assert all(line.isascii() for line in last)


def test_terminal_that_is_dumb_gets_lines(opened: OpenTerminal, build: Callable[..., str]) -> None:
    with opened(100, 30) as terminal:
        terminal.type("export TERM=dumb; " + build(DOCKERFILE, "--platform=linux/amd64").removeprefix("clear; "))
        terminal.wait(_ended, "the end", seconds=SECONDS)

        assert any(line.startswith("#1 [internal]") for line in terminal.screen(history=True))
