"""Blocking work in threads, without leaving it behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_TURN: Final = 0.1
"""Seconds for which `drive` takes steps before it looks whether it was cancelled."""


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `function` in a thread. When the task is cancelled this waits for the thread before it passes the cancellation on.

    asyncio.to_thread would return at once, and clean-up would close descriptors that the thread still uses. So `function` must be short.
    """
    future = asyncio.get_running_loop().run_in_executor(None, lambda: function(*args, **kwargs))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:
                continue  # cancelled again; the first cancellation is passed on below
        future.exception()  # looked at, so that asyncio does not report it
        raise


async def drive(work: Generator[None, None, None]) -> None:
    """Run `work` in threads, for a moment at a time, so that a cancellation ends it soon; it is closed then, to clean up."""
    try:
        while await in_thread(_advance, work):
            pass
    except BaseException:
        await in_thread(work.close)
        raise


def _advance(work: Generator[None, None, None]) -> bool:
    end = time.monotonic() + _TURN
    while time.monotonic() < end:
        try:
            next(work)
        except StopIteration:
            return False
    return True
