"""Blocking work in threads, without leaving it behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


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
