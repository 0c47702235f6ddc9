"""Concurrent requests that fail as one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from kubectl_build.errors import ungrouped

T = TypeVar("T")


async def together(*calls: Coroutine[Any, Any, T]) -> list[T]:
    """Run `calls` at once and return their results in order. One that fails cancels the others, and its error is raised as it is."""
    with ungrouped():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    return [task.result() for task in tasks]
