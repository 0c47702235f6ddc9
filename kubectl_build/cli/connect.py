"""From kubectl's flags to a client of the cluster."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kubectl_build.cluster.client import KubeClient, open_client
from kubectl_build.cluster.config import resolve
from kubectl_build.model.kubeflags import KubeFlags


@asynccontextmanager
async def connected(flags: KubeFlags) -> AsyncIterator[KubeClient]:
    """Resolve the flags and yield a client. Raises ConfigError; nothing has been asked of the cluster yet."""
    connection = resolve(flags, environ=os.environ)
    async with open_client(connection) as client:
        yield client
