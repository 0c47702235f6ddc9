"""Trying again what the infrastructure broke: on a healthy pod where there is another, with the reason told.

A build's finished steps are in the builder's cache, so that another try costs what was not finished. What the build itself did wrong
is not tried again, nor what a registry refuses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeVar

from kubectl_build.daemons import Link
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import (
    ApiError,
    ApiUnreachable,
    BuilderNotReady,
    ConnectionLost,
    DialError,
    KubectlBuildError,
    RegistryError,
)
from kubectl_build.model.events import Note, Sink, timed
from kubectl_build.pools import Pools
from kubectl_build.values import dataclass

T = TypeVar("T")

_PAUSE = 1.0
_LONGEST_PAUSE = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How a build's work on its `pools` is tried again: at most `limit` times after the first."""

    pools: Pools
    limit: int
    emit: Sink

    async def on_link(self, pool: str, attempt: Callable[[Link], Awaitable[T]], *, first: Link | None = None) -> T:
        """Run `attempt` on a link to `pool`, or on `first`, and again on a new link when the connection, the pod or a registry has failed.

        Not after a cancellation, which may well look like a lost connection from here. What was tried often enough leaves as an error
        that is not transient, so that nobody tries it once more.
        """
        lost: ConnectionLost | None = None
        for number in range(1, self.limit + 2):
            try:
                if first is not None:
                    return await attempt(first)
                async with AsyncExitStack() as stack:
                    return await attempt(await self._reached(stack, pool, lost))
            except (ConnectionLost, RegistryError) as error:
                self.emit(Note(text="", level="wait"))
                if number > self.limit or not error.transient or _cancelled():
                    error.transient = False
                    raise
                lost = error if isinstance(error, ConnectionLost) else None
                cached = "" if lost else ": every finished step is cached"
                self.emit(Note(text=f"{error.message}; trying again ({number + 1} of {self.limit + 1}){cached}", level="warning"))
            if lost is None:
                await asyncio.sleep(min(_PAUSE * 2 ** (number - 1), _LONGEST_PAUSE))
            first = None
        raise AssertionError("the last try returns or raises")

    async def _reached(self, stack: AsyncExitStack, pool: str, lost: ConnectionLost | None) -> Link:
        """A link to `pool`. After a loss it is asked for until it can be had, for some time: what has failed may need a moment to be back.

        Raises as Pools.link; after a loss that nothing has replaced in time ConnectionLost, which tells both.
        """
        clock = asyncio.get_running_loop().time
        until, pause = clock() + deadlines().reconnect, _PAUSE
        while True:
            try:
                with timed(self.emit, "connect", pool):
                    return await stack.enter_async_context(self.pools.link(pool))
            except (DialError, ApiUnreachable, ApiError, BuilderNotReady) as error:
                if lost is None or not _may_pass(error):
                    raise
                if clock() + pause > until:
                    said = f"{lost.message}; and {deadlines().reconnect:g} s later the builder could not be reached again: {error.message}"
                    final = ConnectionLost(said, hint=error.hint or lost.hint)
                    final.transient = False
                    raise final from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


def _cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _may_pass(error: KubectlBuildError) -> bool:
    """Whether a builder that was there a moment ago may be reached again after `error`: an API server, a node or a daemon that restarts."""
    if isinstance(error, ApiError):
        return error.status >= 500 or error.status == 429
    if isinstance(error, BuilderNotReady):
        return error.reason == "CrashLoopBackOff"  # the kubelet's pause of 10 s and more between two starts
    return error.transient or isinstance(error, ApiUnreachable)
