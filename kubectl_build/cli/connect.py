"""From kubectl's flags to a client of the cluster."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from kubectl_build.cluster.client import KubeClient, open_client
from kubectl_build.cluster.config import resolve
from kubectl_build.cluster.lean import load_http
from kubectl_build.model.kubeflags import KubeFlags
from kubectl_build.model.request import BuildRequest
from kubectl_build.transport.addresses import KubePodAddress, parse_address


@asynccontextmanager
async def connected(flags: KubeFlags) -> AsyncIterator[KubeClient]:
    """Resolve the flags and yield a client. Raises ConfigError; nothing has been asked of the cluster yet."""
    connection = resolve(flags, environ=os.environ)
    load_http()
    async with open_client(connection) as client:
        yield client


@asynccontextmanager
async def connected_for(request: BuildRequest, flags: KubeFlags) -> AsyncIterator[KubeClient | None]:
    """As `connected_to` for the builder of `request`; a secret that it names needs a cluster in any case."""
    async with connected_to(request.builder, flags, needed=bool(request.registry_secrets)) as client:
        yield client


@asynccontextmanager
async def connected_to(builder: str, flags: KubeFlags, *, needed: bool = False) -> AsyncIterator[KubeClient | None]:
    """As `connected`, by the context that a pod's address names; None for a daemon outside a cluster, unless one is `needed`."""
    address = parse_address(builder)
    if isinstance(address, KubePodAddress):
        flags = replace(flags, context=address.context or flags.context, namespace=address.namespace or flags.namespace)
    elif address is not None and not needed:
        yield None
        return
    async with connected(flags) as client:
        yield client
