"""Concurrent requests that fail as one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from kubectl_build.errors import KubectlBuildError

T = TypeVar("T")


async def together(*calls: Coroutine[Any, Any, T]) -> list[T]:
    """Run `calls` at once and return their results in order. The first KubectlBuildError cancels the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except* KubectlBuildError as failures:
        raise first_error(failures) from None
    return [task.result() for task in tasks]


def first_error(failures: BaseExceptionGroup[KubectlBuildError]) -> KubectlBuildError:
    """The first error of our own in a group."""
    for failure in failures.exceptions:
        if isinstance(failure, BaseExceptionGroup):
            return first_error(failure)
        return failure
    raise AssertionError("an exception group is never empty")
