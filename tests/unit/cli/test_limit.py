"""The user's own limit of time."""

from __future__ import annotations

import asyncio

import pytest

from kubectl_build.cli.limit import limited
from kubectl_build.errors import ConnectionLost, TimedOut


async def test_body_that_takes_too_long_is_cancelled_and_what_it_did_is_told() -> None:
    doing, cleaned = "at RUN sleep", asyncio.Event()

    async def body() -> None:
        nonlocal doing
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            doing = "cleaning up"
            await asyncio.sleep(0)  # clean-up may wait
            cleaned.set()

    with pytest.raises(TimedOut, match=r"^not done within --timeout 0\.01 s: the build was at RUN sleep$") as caught:
        async with limited(0.01, lambda: doing):
            await body()

    assert cleaned.is_set()
    assert caught.value.exit_code == 124


async def test_error_of_the_clean_up_does_not_hide_that_the_time_was_up() -> None:
    async def body() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            raise ConnectionLost("a consequence")

    with pytest.raises(TimedOut):
        async with limited(0.01, lambda: "building"):
            await body()


async def test_error_in_time_passes() -> None:
    with pytest.raises(ConnectionLost):
        async with limited(60, lambda: ""):
            raise ConnectionLost("lost")


async def test_body_without_a_limit_is_not_disturbed() -> None:
    async with limited(None, lambda: ""):
        await asyncio.sleep(0)
