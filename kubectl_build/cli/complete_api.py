"""What the Kubernetes API says to a shell that completes a word, if it says it in time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing

from kubectl_build.builder.find import list_builders
from kubectl_build.builder.nodes import find_architectures
from kubectl_build.cli.connect import connected
from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.lean import load_http
from kubectl_build.cluster.resources import NAMESPACES, SECRETS
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import KubectlBuildError
from kubectl_build.model.kubeflags import KubeFlags

_TYPES = ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg")


def ask_api(flag: str, flags: KubeFlags) -> Mapping[str, str]:
    """Values for `flag` with their descriptions; none where the cluster does not answer or refuses."""
    load_http()  # before the deadline begins
    try:
        with closing(asyncio.new_event_loop()) as loop:  # asyncio.run would wait for the thread of a name server that does not answer
            return loop.run_until_complete(_in_time(_QUESTIONS[flag], flags))
    except (KubectlBuildError, TimeoutError):
        return {}


async def _in_time(question: Callable[[KubeClient], Awaitable[Mapping[str, str]]], flags: KubeFlags) -> Mapping[str, str]:
    async with asyncio.timeout(deadlines().completion), connected(flags) as kube:
        return await question(kube)


async def _builders(kube: KubeClient) -> Mapping[str, str]:
    found = await list_builders(kube, emit=lambda _: None)
    return {builder.name: ", ".join(sorted(pool.architecture for pool in builder.pools)) for builder in found}


async def _namespaces(kube: KubeClient) -> Mapping[str, str]:
    return _by_name((await kube.list(NAMESPACES)).items)


async def _secrets(kube: KubeClient) -> Mapping[str, str]:
    lists = await asyncio.gather(*(kube.list(SECRETS, field_selector=f"type={kind}") for kind in _TYPES))
    return _by_name([item for found in lists for item in found.items])


async def _platforms(kube: KubeClient) -> Mapping[str, str]:
    found = await find_architectures(kube, lambda _: None)
    return {f"linux/{architecture}": "a node has it" for architecture in sorted(found or ())}


def _by_name(items: Sequence[Mapping[str, Mapping[str, str]]]) -> dict[str, str]:
    return dict.fromkeys(sorted(item["metadata"]["name"] for item in items), "")


_QUESTIONS: Mapping[str, Callable[[KubeClient], Awaitable[Mapping[str, str]]]] = {
    "--builder": _builders,
    "--namespace": _namespaces,
    "--registry-secret": _secrets,
    "--image-pull-secrets": _secrets,
    "--platform": _platforms,
}
