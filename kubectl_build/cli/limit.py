"""The user's own limit of time, --timeout."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from kubectl_build.errors import KubectlBuildError, TimedOut


@asynccontextmanager
async def limited(seconds: float | None, doing: Callable[[], str]) -> AsyncIterator[None]:
    """Cancel the body after `seconds` and raise TimedOut with what it was `doing` then. The body cleans up first; None is for ever."""
    said = ""

    def note() -> None:
        nonlocal said
        said = doing()  # asked before the clean-up changes it

    timer = asyncio.get_running_loop().call_later(seconds, note) if seconds is not None else None
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except (TimeoutError, KubectlBuildError) as error:
        # What breaks while a cancelled command cleans up is a consequence, not news.
        if not limit.expired():
            raise
        raise TimedOut(
            f"not done within --timeout {seconds:g} s: the build was {said or doing()}", hint="the same command goes on from finished steps"
        ) from error
    finally:
        if timer is not None:
            timer.cancel()
