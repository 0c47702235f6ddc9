"""Work that is done beside other work, with its error kept for later."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

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
