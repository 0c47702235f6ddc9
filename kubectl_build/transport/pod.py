"""Streams to what runs in a builder's pod, through the API server's exec."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from kubectl_build.cluster.client import KubeClient
from kubectl_build.cluster.exec import ExecStream, open_exec
from kubectl_build.deadlines import deadlines
from kubectl_build.errors import DialError, Invalid
from kubectl_build.model.stream import ByteStream, Dialer
from kubectl_build.transport.addresses import KubePodAddress
from kubectl_build.values import dataclass

_NAME_CONTAINER = "the daemon's own container is named like this: kube-pod://POD?container=NAME"
_NO_PROGRAM = "executable file not found"
"""How every runtime says it: the words are those of Go's os/exec."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodAddress:
    """A container of a pod."""

    namespace: str
    name: str
    container: str = "buildkitd"


def named_pod(address: KubePodAddress, client: KubeClient) -> PodAddress:
    """The pod that an address names; without a namespace it is in the client's."""
    return PodAddress(namespace=address.namespace or client.namespace, name=address.pod, container=address.container)


def daemon_dialer(client: KubeClient, pod: PodAddress) -> Dialer:
    """Dial the daemon of a pod. A stream is returned when the daemon has answered: it sends its HTTP/2 settings before it is asked.

    Raises Forbidden where this user may not exec; everything else that goes wrong is a DialError.
    """

    async def dial() -> ByteStream:
        try:
            stream = await _exec(client, pod, ["buildctl", "dial-stdio"], bulk=True)
        except DialError as error:
            if isinstance(error.__cause__, Invalid):  # there is no such container, or none was named of several
                error.hint = _NAME_CONTAINER
            raise
        try:
            async with asyncio.timeout(deadlines().answer):
                await stream.started()
        except TimeoutError as exc:
            await stream.aclose()
            raise DialError(f'the daemon in pod "{pod.name}" did not answer within {deadlines().answer:g} s') from exc
        except DialError as exc:
            await stream.aclose()
            if stream.status is not None and _NO_PROGRAM in stream.status.message:
                raise _no_buildctl(pod) from exc
            raise
        except BaseException:
            await stream.aclose()
            raise
        return stream

    return dial


def _no_buildctl(pod: PodAddress) -> DialError:
    container = f'container "{pod.container}"' if pod.container else "the container"
    error = DialError(f'{container} of pod "{pod.name}" has no buildctl, which connects to its daemon', hint=_NAME_CONTAINER)
    error.transient = False
    return error


def tcp_dialer(client: KubeClient, pod: PodAddress, host: str, port: int) -> Dialer:
    """Dial host:port from inside a pod by its `nc`, so with the pod's names and routes.

    nc says nothing when it has connected: a host that refuses is a DialError of the first `receive`.
    """

    async def dial() -> ByteStream:
        return await _exec(client, pod, ["nc", host, str(port)])

    return dial


async def _exec(client: KubeClient, pod: PodAddress, command: Sequence[str], *, bulk: bool = False) -> ExecStream:
    return await open_exec(client, namespace=pod.namespace, pod=pod.name, container=pod.container, command=command, bulk=bulk)
