"""The cluster's words: progress on stderr, and the one exception whose text is for the user."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Trouble(Exception):
    """Something the user must know or do; its text is one clear sentence."""


_START = time.monotonic()


def say(text: str) -> None:
    """Write one line of progress, with the seconds since the command began."""
    print(f"[{time.monotonic() - _START:5.1f}s] {text}", file=sys.stderr, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Say what begins, and when it took longer than a second also that it is done."""
    say(text)
    begin = time.monotonic()
    yield
    took = time.monotonic() - begin
    if took > 1:
        say(f"{text}: done in {took:.1f} s")
