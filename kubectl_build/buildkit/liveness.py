"""Whether a daemon lives while it is asked something long without a session, which would be asked for health itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kubectl_build.buildkit.client import BuildkitClient
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import ungrouped

_INTERVAL = 5.0


@asynccontextmanager
async def watched(client: BuildkitClient) -> AsyncIterator[None]:
    """Ask for the daemon's health while the body runs. When no answer comes the body is cancelled, and ConnectionLost is raised."""
    with ungrouped():
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(_ask(client), name="health")
            yield
            asking.cancel()


async def _ask(client: BuildkitClient) -> None:
    while True:
        await client.healthy(deadline=deadlines().health)
        await asyncio.sleep(_INTERVAL)
