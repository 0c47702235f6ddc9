"""Work that is done beside other work, with its result or error kept for later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from kubectl_build.errors import KubectlBuildError

T = TypeVar("T")


async def held(work: Awaitable[T]) -> Callable[[], T]:
    """Await `work`, and return what gives its result or raises its error: so one error of several does not depend on which came first."""
    try:
        result = await work
    except KubectlBuildError as error:
        failure = error

        def fail() -> T:
            raise failure

        return fail
    return lambda: result


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Future[T]]:
    """Run `work` beside the body, which may await it any number of times; who may be cancelled meanwhile shields it from that.

    What is left of it when the body ends is cancelled, and an error that nobody has awaited is dropped.
    """
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report it
